"""A model behind an endpoint as lm-eval's `LM`: asked many questions at a time, each answer kept at once.

With the model's tokenizer here the prompt is made here, cut to the model's context as lm-eval does
in process, and sent as tokens to /completions: what the model reads is then the same on every
engine. Without one, messages go to /chat/completions.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lm_eval.api.model import TemplateLM
from lm_eval.models.utils import handle_stop_sequences, normalize_gen_kwargs, postprocess_generated_text

from residency import files
from residency.endpoint import pool
from residency.endpoint.client import Client
from residency.endpoint.errors import TooLong
from residency.endpoint.kept import Kept
from residency.endpoint.prompt import Tokenizer
from residency.engines.lm_eval.keep import Request
from residency.engines.lm_eval.prompts import packed, unpacked
from residency.errors import StageFailed

MAX_GEN_TOKS = 256
"""Tokens of an answer where the task does not say, as in process."""
STOPS = 4
"""Stop texts that every server takes; an answer is cut at the others here."""

Report = Callable[[int, int, Sequence[Request], Sequence[Any]], None]


class Served(TemplateLM):  # type: ignore[misc]  # lm-eval has no types
    """See the module. `too_long`, `refused` and `empty` hold (task, number of the question)."""

    def __init__(
        self,
        client: Client,
        model: str,
        kept: Kept,
        *,
        tokenizer: Tokenizer | None,
        context: int | None,
        seed: int | None,
        expected: int = 0,
        report: Report = lambda *_: None,
    ) -> None:
        """Set it up.

        Args:
            client: The server.
            model: The model's name there.
            kept: Where answers are kept.
            tokenizer: The model's; None to send messages.
            context: Tokens of the model's context; None where nobody says.
            seed: From which each question's own seed is made, where answers are sampled.
            expected: Requests that will be asked in all, as far as is known.
            report: Called after each answer with requests done, requests in all, the request, its answer.
        """
        super().__init__()
        self.client, self.model, self.kept = client, model, kept
        self.own, self.context, self.seed = tokenizer, context, seed
        self.tokenizer = tokenizer.inner if tokenizer else None
        self.expected, self.report = expected, report
        self.done = 0
        self.computed = 0
        """Requests answered by the server in this attempt, not taken from the file."""
        self.too_long: set[tuple[str, int]] = set()
        """Questions longer than the model's context: cut, or (then in `refused` too) not answered."""
        self.refused: set[tuple[str, int]] = set()
        self.empty: set[tuple[str, int]] = set()
        self.tokens = 0
        """Tokens of all answers, as far as the server counted them."""
        self._lock = threading.Lock()

    # ---- what lm-eval asks of a model

    @property
    def eot_token_id(self) -> int:
        """The token that ends an answer."""
        return int(self._tokens().inner.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """The token that stands before an empty context."""
        inner = self._tokens().inner
        return int(inner.eos_token_id if inner.bos_token_id is None else inner.bos_token_id)

    @property
    def tokenizer_name(self) -> str:
        """A name for lm-eval's cache of requests, which is not used."""
        return ""

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """A text's tokens."""
        if add_special_tokens is None:
            return self._tokens().encode(string)
        tokens: list[int] = self._tokens().inner.encode(string, add_special_tokens=add_special_tokens)
        return tokens

    def apply_chat_template(
        self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True
    ) -> str:
        """The prompt that the tokenizer's template makes, or the messages in one text."""
        if self.own is None:
            return packed(chat_history)
        return self.own.render(chat_history, add_generation_prompt=add_generation_prompt)

    def generate_until(self, requests: list[Request], disable_tqdm: bool = False) -> list[str]:
        """An answer for each request; one of a prompt that the server finds too long is empty."""
        return self._all("generate_until", requests, self._generate)

    def loglikelihood(self, requests: list[Request], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each request the log-likelihood of its continuation, and whether it is the likeliest."""
        if self.own is None:
            raise StageFailed(
                "a task that weighs its choices needs likelihoods, which /chat/completions does not give",
                "name the model's folder under `model:` (its tokenizer is needed) and a server that has "
                "/completions with `echo` and `logprobs`, or choose a task that is answered by generation",
            )
        return [(float(a), bool(b)) for a, b in self._all("loglikelihood", requests, self._weigh)]

    def loglikelihood_rolling(self, requests: list[Request], disable_tqdm: bool = False) -> list[float]:
        """Not over an endpoint."""
        raise StageFailed(
            "a task that measures perplexity cannot be asked of a server",
            "evaluate it in process: `model:` without `endpoint:`",
        )

    def _loglikelihood_tokens(self, requests: Any, **_: Any) -> Any:
        raise NotImplementedError  # `loglikelihood` asks the server itself

    # ---- asking

    def _all(
        self, method: str, requests: Sequence[Request], ask: Callable[[Request, str], dict[str, Any]]
    ) -> list[Any]:
        """Every request's answer, in their order; those that are kept are not asked again."""
        answers: list[Any] = [None] * len(requests)
        total = max(self.expected, self.done + len(requests))
        seen: Counter[str] = Counter()
        todo: list[tuple[int, str]] = []
        for place, request in enumerate(requests):
            asked = files.sha256_value([method, list(request.args)])[:32]
            seen[asked] += 1
            key = f"{asked}-{seen[asked]}"  # the same question asked again is another sample
            if key in self.kept.rows:
                answers[place] = self._take(request, self.kept.rows[key], total)
            else:
                todo.append((place, key))

        if todo and len(todo) < len(requests):
            self.report(self.done, total, [], [])

        def one(item: tuple[int, str]) -> dict[str, Any]:
            place, key = item
            row = self.kept.add(key, ask(requests[place], key))
            with self._lock:
                self.computed += 1
            return row

        endpoint = self.client.endpoint
        for (place, _), row in pool.each(
            todo, one, concurrency=endpoint.concurrency, stop=self.client.stopped.set
        ):
            answers[place] = self._take(requests[place], row, total)
        return answers

    def _take(self, request: Request, row: Mapping[str, Any], total: int) -> Any:
        """Count an answer, kept or new; gives it as lm-eval wants it."""
        question = (str(request.task_name), int(request.doc_id or 0))
        for flag, found in (("too_long", self.too_long), ("refused", self.refused), ("empty", self.empty)):
            if row.get(flag):
                found.add(question)
        self.tokens += int(row.get("tokens") or 0)
        self.done += 1
        answer = row["answer"]
        answer = tuple(answer) if isinstance(answer, list) else answer
        self.report(self.done, total, [request], [answer])
        return answer

    def _generate(self, request: Request, key: str) -> dict[str, Any]:
        """Ask for one answer; the row to be kept."""
        prompt, given = request.args[0], request.args[1]
        settings = normalize_gen_kwargs(dict(given), MAX_GEN_TOKS)
        eos = self._tokens().inner.decode([self.eot_token_id]) if self.own else None
        until = handle_stop_sequences(settings.pop("until", None), eos=eos)
        most = int(settings.pop("max_gen_toks"))
        sampled = bool(settings.pop("do_sample", False)) or float(settings.get("temperature") or 0) > 0
        if sampled and not settings.get("temperature"):
            settings["temperature"] = 1.0
        body: dict[str, Any] = {"model": self.model, **settings, "max_tokens": most}
        if not sampled:
            body["temperature"] = 0.0
        elif self.seed is not None:
            body.setdefault("seed", self.seed + int(key[:7], 16) + int(key.rpartition("-")[2]))
        stops = [stop for stop in until if stop and stop != eos][:STOPS]
        if stops:
            body["stop"] = stops
        long = False
        try:
            if self.own is None:
                reply = self.client.chat(unpacked(str(prompt)), body)
            else:
                tokens = self.own.encode(str(prompt))
                room = self._room(most)
                long = room is not None and len(tokens) > room
                reply = self.client.complete(tokens[-room:] if room is not None else tokens, body)
        except TooLong:
            return {"answer": "", "too_long": True, "refused": True}
        text = postprocess_generated_text(reply.text, until, None)
        row: dict[str, Any] = {"answer": text, "finish": reply.finish_reason, "tokens": reply.tokens}
        return row | ({"too_long": True} if long else {}) | ({} if reply.text.strip() else {"empty": True})

    def _room(self, most: int) -> int | None:
        """Tokens that a prompt may have beside an answer of `most`; None where nobody says."""
        if self.context is None:
            return None
        if self.context <= most:
            raise StageFailed(
                f"the answer may be {most} tokens long and the model's whole context is {self.context}",
                "lower `lm_eval.gen_kwargs.max_gen_toks`",
            )
        return self.context - most

    def _weigh(self, request: Request, key: str) -> dict[str, Any]:
        """Ask for one likelihood; the row to be kept."""
        before, after = str(request.args[0]), str(request.args[1])
        if before:
            head, tail = self._encode_pair(before, after)
        else:
            head, tail = [self.prefix_token_id], self.tok_encode(after, add_special_tokens=False)
            if tail and head[0] == tail[0]:
                head, tail = tail[:1], tail[1:]
        tokens = head + tail
        # One token is asked for after them, since not every server takes none.
        room = None if self.context is None else self.context - 1
        # As in process: the last token of a continuation is predicted, never read.
        long = self.context is not None and len(tokens) - 1 > self.context
        try:
            kept = tokens if room is None else tokens[-room:]
            value, greedy = self.client.weigh(kept, len(tail), {"model": self.model})
        except TooLong as error:
            raise StageFailed(f"a prompt is longer than the model's context: {error}") from None
        return {"answer": [value, greedy]} | ({"too_long": True} if long else {})

    def _tokens(self) -> Tokenizer:
        if self.own is None:
            raise StageFailed("the model's tokenizer is not known", "name the model's folder under `model:`")
        return self.own
