"""Answers kept batch by batch: the same batches each time, nothing asked twice, nothing half there."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.lm_eval.keep import Keeper, Kept, plan


@dataclass
class Asked:
    args: tuple[Any, ...]
    task_name: str | None = "t"
    doc_id: int | None = 0
    doc: dict[str, Any] = field(default_factory=dict)
    idx: int = 0


class Model:
    """Answers with the length of its batch, so that another batching shows; may die on the way."""

    tokenizer = object()
    max_length = 50

    def __init__(self, dies_after: int | None = None) -> None:
        self.calls: list[list[str]] = []
        self.dies_after = dies_after
        self.batch_size_per_gpu = 1

    def tok_encode(self, text: str) -> list[str]:
        return text.split()

    def _answer(self, requests: Sequence[Asked]) -> None:
        if self.dies_after is not None and len(self.calls) >= self.dies_after:
            raise KeyboardInterrupt
        self.calls.append([r.args[0] for r in requests])

    def generate_until(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[str]:
        self._answer(requests)
        return [f"{r.args[0]} in {len(requests)}" for r in requests]

    def loglikelihood(
        self, requests: Sequence[Asked], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        self._answer(requests)
        return [(-len(r.args[1]) / 3, True) for r in requests]

    def loglikelihood_rolling(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[float]:
        self._answer(requests)
        return [-1.5 for _ in requests]


def generation(n: int, **kwargs: Any) -> list[Asked]:
    draw = random.Random(n)
    return [Asked((f"{i} " + "word " * draw.randrange(30), kwargs), doc_id=i) for i in range(n)]


def run(path: Path, model: Model, requests: list[Asked], size: int | None = 4, **more: Any) -> list[Any]:
    kept = Kept(path, more.pop("purpose", "p"))
    try:
        keeper = Keeper(kept, batch_size=size, **more)
        keeper.attach(model)
        return list(model.generate_until(requests))
    finally:
        kept.close()


@given(
    st.lists(st.tuples(st.sampled_from(["a b c", "d", "e f", "gg h"]), st.integers(0, 2)), min_size=1),
    st.integers(1, 7),
)
def test_a_plan_holds_each_request_once(asked: list[tuple[str, int]], size: int) -> None:
    def words(text: str) -> int:
        return len(text.split())

    requests = [Asked((text, {"max_gen_toks": k})) for text, k in asked]
    batches = plan("generate_until", requests, size, words)
    assert sorted(i for b in batches for i in b) == list(range(len(requests)))
    assert all(len(b) <= size for b in batches)
    assert all(len({requests[i].args[1]["max_gen_toks"] for i in b}) == 1 for b in batches)
    for batch in batches:
        lengths = [words(requests[i].args[0]) for i in batch]
        assert lengths == sorted(lengths, reverse=True)


def test_choices_of_a_question_share_a_batch() -> None:
    requests = [Asked((f"question {i}", choice)) for choice in ("yes", "no", "maybe") for i in range(10)]
    batches = plan("loglikelihood", requests, 4, len)
    assert [len(b) for b in batches] == [12, 12, 6]
    for batch in batches:
        contexts = [requests[i].args[0] for i in batch]
        assert all(contexts.count(c) == 3 for c in contexts)


@pytest.mark.parametrize("dies_after", [0, 1, 2, 4])
def test_killed_and_started_again(tmp_path: Path, dies_after: int) -> None:
    requests = generation(18, max_gen_toks=3)
    whole = run(tmp_path / "whole.jsonl", Model(), requests)
    path = tmp_path / "killed.jsonl"
    first = Model(dies_after)
    with pytest.raises(KeyboardInterrupt):
        run(path, first, requests)
    second = Model()
    assert run(path, second, requests) == whole
    assert len(first.calls) == dies_after
    assert len(first.calls) + len(second.calls) == 5
    third = Model(0)
    assert run(path, third, requests) == whole
    assert third.calls == []


def test_a_line_cut_off_is_asked_again(tmp_path: Path) -> None:
    requests = generation(8)
    path = tmp_path / "kept.jsonl"
    whole = run(path, Model(), requests)
    data = path.read_bytes()
    for cut in (3, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:cut])
        assert run(path, Model(), requests) == whole
        assert path.read_bytes() == data


def test_another_purpose_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    run(path, Model(), generation(4))
    model = Model()
    run(path, model, generation(4), purpose="other")
    assert len(model.calls) == 1
    assert json.loads(path.read_text().splitlines()[0]) == {"purpose": "other"}


def test_the_same_question_in_two_batches_is_asked_twice(tmp_path: Path) -> None:
    requests = [Asked(("same", {"do_sample": True})) for _ in range(6)]
    model = Model()
    run(tmp_path / "kept.jsonl", model, requests, size=3)
    assert len(model.calls) == 2


def test_likelihoods_come_back_exactly(tmp_path: Path) -> None:
    requests = [Asked(("question", choice), idx=i) for i, choice in enumerate(("yes", "no", "maybe"))]
    answers = []
    for _ in range(2):
        kept = Kept(tmp_path / "kept.jsonl", "p")
        model = Model()
        Keeper(kept, batch_size=2).attach(model)
        answers.append(model.loglikelihood(requests))
        rolling = model.loglikelihood_rolling([Asked(("text",))])
        kept.close()
    assert rolling == [-1.5]
    assert answers[0] == answers[1] == [(-1.0, True), (-2 / 3, True), (-5 / 3, True)]


def test_progress_counts_kept_answers_too(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    requests = generation(10)
    run(tmp_path / "kept.jsonl", Model(), requests, report=lambda done, total, *_: said.append((done, total)))
    run(tmp_path / "kept.jsonl", Model(), requests, report=lambda done, total, *_: said.append((done, total)))
    assert said == [(4, 10), (8, 10), (10, 10)] * 2


def test_progress_goes_on_over_the_kinds_of_requests(tmp_path: Path) -> None:
    said: list[tuple[int, int]] = []
    kept = Kept(tmp_path / "kept.jsonl", "p")
    model = Model()
    keeper = Keeper(
        kept, batch_size=4, expected=11, report=lambda done, total, *_: said.append((done, total))
    )
    keeper.attach(model)
    model.generate_until(generation(5))
    model.loglikelihood([Asked((f"question {i}", "yes")) for i in range(6)])
    kept.close()
    assert said == [(4, 11), (5, 11), (9, 11), (11, 11)]


def test_prompts_longer_than_the_context_are_counted(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept.jsonl", "p")
    keeper = Keeper(kept, batch_size=2)
    model = Model()
    keeper.attach(model)
    texts = ["w " * n for n in (44, 45, 46, 200)]
    model.generate_until([Asked((t, {"max_gen_toks": 5}), "gen", i) for i, t in enumerate(texts)])
    model.loglikelihood([Asked((t, "yes"), "lik", i) for i, t in enumerate(["w " * 50, "w " * 51])])
    kept.close()
    assert keeper.too_long == {("gen", 2), ("gen", 3), ("lik", 1)}


def test_auto_halves_until_it_fits_and_remembers(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Small(Model):
        def _answer(self, requests: Sequence[Asked]) -> None:
            if len(requests) > 5:
                raise torch.OutOfMemoryError("too much")
            super()._answer(requests)

    path, requests = tmp_path / "kept.jsonl", generation(9)
    model = Small()
    answers = run(path, model, requests, size=None, most=16)
    assert [len(c) for c in model.calls] == [4, 4, 1]
    assert model.batch_size_per_gpu == 4
    again = Small(0)
    assert run(path, again, requests, size=None, most=16) == answers


def test_auto_gives_up_where_one_does_not_fit(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Tiny(Model):
        def _answer(self, requests: Sequence[Asked]) -> None:
            raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        run(tmp_path / "kept.jsonl", Tiny(), generation(3), size=None)


def test_each_batch_has_its_own_seed(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")

    class Dice(Model):
        def generate_until(self, requests: Sequence[Asked], disable_tqdm: bool = False) -> list[str]:
            self._answer(requests)
            return [str(torch.rand(1).item()) for _ in requests]

    requests = generation(12)
    whole = run(tmp_path / "whole.jsonl", Dice(), requests, seed=5)
    assert len(set(whole)) == 12
    path = tmp_path / "killed.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, Dice(1), requests, seed=5)
    torch.manual_seed(99)
    assert run(path, Dice(), requests, seed=5) == whole
    assert run(tmp_path / "other.jsonl", Dice(), requests, seed=6) != whole
