"""Answers kept batch by batch, so that a killed evaluation goes on and ends with the same result.

lm-eval has a cache of its own (`use_cache`), but after a kill it batches what is left anew. How
a prompt is padded depends on its batch, and in bfloat16 padding can turn an answer. Here the
batches are planned over all requests, in the same way each time; a batch counts as a whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from residency.journal import Journal

METHODS = ("generate_until", "loglikelihood", "loglikelihood_rolling")


class Request(Protocol):
    """lm-eval's Instance, as far as it is used here."""

    args: tuple[Any, ...]
    task_name: str | None
    doc_id: int | None
    doc: Mapping[str, Any]
    idx: int


class Kept:
    """The file of kept answers, a row a finished batch."""

    def __init__(self, path: Path, purpose: str) -> None:
        """Read what is there; a file kept for another purpose is begun anew."""
        self._journal = Journal(path, purpose)
        self.batches: dict[str, list[Any]] = {}
        self.batch_size: int | None = None
        """The batch size that `auto` found in an earlier attempt."""
        for row in self._journal.found:
            self.batch_size = row.get("batch_size", self.batch_size)
            if "batch" in row:
                self.batches[row["batch"]] = row["answers"]

    def add(self, batch: str, answers: Sequence[Any]) -> None:
        """Keep a finished batch."""
        self.batches[batch] = list(answers)
        self._journal.append({"batch": batch, "answers": list(answers)})

    def settle(self, batch_size: int) -> None:
        """Keep the batch size that was found."""
        self.batch_size = batch_size
        self._journal.append({"batch_size": batch_size})

    def close(self) -> None:
        """Close the file."""
        self._journal.close()


def plan(
    method: str, requests: Sequence[Request], size: int, length: Callable[[str], int]
) -> list[list[int]]:
    """The batches, as indexes into `requests`: alike in length, the longest first.

    The longest come first so that memory runs out at once or not at all. Requests that generate
    differently never share a batch; the choices of one question always do, since lm-eval then
    computes what they have in common once, and count as one.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for index, request in enumerate(requests):
        if method == "generate_until":
            key = (json.dumps(request.args[1], sort_keys=True, default=str), f"{index:012d}")
        elif method == "loglikelihood":
            key = ("", str(request.args[0]))
        else:
            key = ("", f"{index:012d}")
        groups.setdefault(key, []).append(index)
    lengths = {key: length(str(requests[members[0]].args[0])) for key, members in groups.items()}
    batches: list[list[int]] = []
    setting, room = None, 0
    for key in sorted(groups, key=lambda key: (key[0], -lengths[key], key[1])):
        if key[0] != setting or not room:
            batches.append([])
            setting, room = key[0], size
        batches[-1] += groups[key]
        room -= 1
    return batches


def name(method: str, number: int, requests: Sequence[Request]) -> str:
    """A batch's name: its place and a hash over what is asked in it."""
    asked = json.dumps([r.args for r in requests], sort_keys=True, default=str, ensure_ascii=False)
    return f"{method}-{number}-{hashlib.sha256(asked.encode()).hexdigest()[:16]}"


class Keeper:
    """Puts itself between lm-eval and a model: `attach`, and the model's answers are kept."""

    def __init__(
        self,
        kept: Kept,
        *,
        batch_size: int | None,
        most: int = 64,
        seed: int | None = None,
        expected: int = 0,
        report: Callable[[int, int, Sequence[Request], Sequence[Any]], None] = lambda *_: None,
    ) -> None:
        """Set it up.

        Args:
            kept: Where answers are kept.
            batch_size: Requests a batch; None to find the largest that fits.
            most: The largest to try.
            seed: From which each batch's own seed is made, where answers are sampled.
            expected: Requests that will be asked in all, as far as is known: lm-eval asks all that
                generate in one go, then all that weigh choices.
            report: Called after each batch with requests done, requests in all, the batch's
                requests and their answers.
        """
        self.kept, self.batch_size, self.most, self.seed = kept, batch_size, most, seed
        self.expected, self.report = expected, report
        self.done = 0
        """Requests answered, over all calls."""
        self.too_long: set[tuple[str, int]] = set()
        """(task, number) of each question that was longer than the model's context."""
        self.computed = 0
        """Requests answered by the model in this attempt, not taken from the file."""

    def attach(self, lm: Any) -> None:
        """Let `lm` answer through this keeper."""
        for method in METHODS:
            setattr(lm, method, self._through(lm, method, getattr(lm, method)))

    def _through(self, lm: Any, method: str, ask: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
        def answer(requests: Sequence[Request], disable_tqdm: bool = True) -> list[Any]:
            measure = _measure(lm)
            self._note_too_long(lm, method, requests, measure)
            answers: list[Any] = [None] * len(requests)
            total = max(self.expected, self.done + len(requests))
            for number, batch in self._batches(lm, method, requests, measure, ask):
                chosen = [requests[i] for i in batch]
                found = self.kept.batches.get(name(method, number, chosen))
                if found is None:
                    found = self._ask(ask, method, number, chosen)
                for i, value in zip(batch, found, strict=True):
                    answers[i] = tuple(value) if isinstance(value, list) else value
                self.done += len(batch)
                self.report(self.done, total, chosen, [answers[i] for i in batch])
            return answers

        return answer

    def _batches(
        self,
        lm: Any,
        method: str,
        requests: Sequence[Request],
        measure: Callable[[str], int],
        ask: Callable[..., list[Any]],
    ) -> Iterator[tuple[int, list[int]]]:
        size = self.batch_size or self.kept.batch_size
        while size is None:
            trial = self.most
            while True:
                first = plan(method, requests, trial, measure)[0]
                _set_batch_size(lm, trial)
                try:
                    self._ask(ask, method, 0, [requests[i] for i in first])
                except Exception as error:
                    if trial == 1 or not _out_of_memory(error):
                        raise
                    trial //= 2
                    continue
                break
            self.kept.settle(trial)
            size = trial
        _set_batch_size(lm, size)
        return iter(list(enumerate(plan(method, requests, size, measure))))

    def _ask(
        self, ask: Callable[..., list[Any]], method: str, number: int, requests: Sequence[Request]
    ) -> list[Any]:
        batch = name(method, number, requests)
        if self.seed is not None and method == "generate_until":
            # Sampled answers depend on the batches before; with a seed of its own each batch
            # comes out the same whether or not the run was interrupted.
            import torch

            torch.manual_seed(self.seed + int(batch.rpartition("-")[2][:8], 16))
        found = ask(list(requests), disable_tqdm=True)
        self.kept.add(batch, found)
        self.computed += len(requests)
        return found

    def _note_too_long(
        self, lm: Any, method: str, requests: Sequence[Request], measure: Callable[[str], int]
    ) -> None:
        limit = getattr(lm, "max_length", None)
        if not isinstance(limit, int) or method == "loglikelihood_rolling":
            return
        for request in requests:
            length = measure(str(request.args[0]))
            if method == "generate_until":
                length += int(request.args[1].get("max_gen_toks") or getattr(lm, "max_gen_toks", 0))
            else:
                # The last token of a continuation is predicted, never read.
                length += measure(str(request.args[1])) - 1
            if length > limit:
                self.too_long.add((str(request.task_name), int(request.doc_id or 0)))


def _measure(lm: Any) -> Callable[[str], int]:
    """Text → its length in tokens (in characters for a model without a tokenizer), remembered."""
    lengths: dict[str, int] = {}
    encode = getattr(lm, "tok_encode", None)

    def measure(text: str) -> int:
        if text not in lengths:
            lengths[text] = len(encode(text)) if encode and getattr(lm, "tokenizer", None) else len(text)
        return lengths[text]

    return measure


def _set_batch_size(lm: Any, size: int) -> None:
    # HFLM keeps it in batch_size_per_gpu; other models batch by themselves.
    if hasattr(lm, "batch_size_per_gpu"):
        lm.batch_size_per_gpu = size


def _out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        torch.cuda.empty_cache()
        return True
    return False
