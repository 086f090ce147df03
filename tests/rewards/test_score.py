"""How the scores of components make a total: what fails is unavailable, never 0."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.errors import RecipeInvalid
from residency.rewards import spec
from residency.rewards.functions import batched
from residency.rewards.score import Sample, Scored, Scorer
from residency.rewards.spec import Calls, Component

PROJECT = Path(__file__).resolve().parents[2]
QUICK = Calls(timeout=0.15, retries=1, concurrency=4, back_off=0.01)


def number(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> float:
    return float(solution_str)


def component(fn: Callable[..., Any], name: str = "c", **changes: Any) -> Component:
    return Component(name=name, fn=fn, **changes)


def run(components: list[Component], answers: list[str], calls: Calls = QUICK) -> list[Scored]:
    return Scorer(components, calls).score_now([Sample("d", answer, "t") for answer in answers])


def test_weights_and_clip() -> None:
    found = run(
        [component(number, "a", weight=2.0, clip=(0, 1)), component(number, "b", weight=-0.5)], ["3", "0.5"]
    )
    assert [s.components for s in found] == [{"a": 1, "b": 3}, {"a": 0.5, "b": 0.5}]
    assert [s.total for s in found] == [0.5, 0.75]


def test_a_weight_of_nothing() -> None:
    """Such a component is only logged: nothing is lost when it is unavailable."""
    (found,) = run([component(number, "n"), component(lambda solution_str: None, "log", weight=0)], ["3"])
    assert (found.total, found.components) == (3.0, {"n": 3.0, "log": None})
    assert found.errors == {"log": "it returned nothing"}
    assert spec.best_total([component(number, maximum=1.0), component(number, "log", weight=0)]) == 1.0


def test_what_a_function_is_given() -> None:
    seen: list[Any] = []

    def whole(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any, *, k: int) -> int:
        seen.append((data_source, solution_str, ground_truth, extra_info, k))
        extra_info["index"] = 99
        return 1

    def some(solution_str: str, ground_truth: Any) -> bool:
        return bool(solution_str == ground_truth)

    info = {"index": 3}
    scorer = Scorer([component(whole, args={"k": 5}), component(some, "s")], QUICK)
    (found,) = scorer.score_now([Sample("d", "x", "x", info)])
    assert seen[0][:3] == ("d", "x", "x")
    assert seen[0][4] == 5
    assert info == {"index": 3}, "a function has its own copy"
    assert found.components == {"c": 1.0, "s": 1.0}


def test_extra_is_kept() -> None:
    (found,) = run([component(lambda solution_str: {"score": 0.5, "why": "half"})], ["x"])
    assert (found.total, found.extra) == (0.5, {"c/why": "half"})


class Scalar:
    """As numpy's and torch's."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        if isinstance(self.value, list):
            raise ValueError("more than one")
        return self.value


async def _late() -> None: ...


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (math.nan, "it returned nan"),
        (math.inf, "it returned inf"),
        (-math.inf, "it returned -inf"),
        ("1.0", "the text '1.0', not a number"),
        (None, "it returned nothing"),
        ([1.0], "a list, not a number"),
        ({}, "a mapping without `score`"),
        ({"scores": 1}, "without `score`: scores"),
        ({"score": None}, "it returned nothing"),
        ({"score": "1"}, "the text '1'"),
        (1j, "a complex, not a number"),
        (10**400, "too large"),
        (Scalar([1, 2]), "a Scalar, not a number"),
        (Scalar("x"), "the text 'x'"),
        (ValueError("bad row\nmore"), "ValueError: bad row"),
        (SystemExit(), "SystemExit"),
        (RecursionError("deep"), "RecursionError: deep"),
    ],
)
@pytest.mark.parametrize("kind", ["sync", "async", "batched"])
def test_what_is_no_score_is_unavailable(returned: Any, says: str, kind: str) -> None:
    def one(solution_str: str) -> Any:
        if solution_str == "good":
            return 1
        if isinstance(returned, BaseException):
            raise returned
        return returned

    async def awaited(solution_str: str) -> Any:
        return one(solution_str)

    @batched
    def many(solution_strs: list[str]) -> list[Any]:
        return [one(text) for text in solution_strs]

    fn = {"sync": one, "async": awaited, "batched": many}[kind]
    good, bad, also = run([component(number, "n"), component(fn)], ["good", "1", "good"])
    assert bad.total is None
    assert bad.components == {"n": 1.0, "c": None}
    assert says in bad.errors["c"]
    assert good.components["c"] == 1.0
    assert also.components["c"] == 1.0, "one bad row does not cost the others"


def number_or_one(solution_str: str) -> float:
    return 1.0


@pytest.mark.parametrize("value", [1, 1.0, True, Scalar(1.0)])
def test_what_is_a_score(value: Any) -> None:
    assert run([component(lambda solution_str: value)], ["x"])[0].total == 1.0


def test_a_score_outside_the_stated_range_is_a_fault() -> None:
    (found,) = run([component(lambda solution_str: 1.5, stated=(0.0, 1.0))], ["x"])
    assert "says that it scores from 0 to 1" in found.errors["c"]


def test_no_text_is_unavailable() -> None:
    (found,) = Scorer([component(number_or_one)], QUICK).score_now([Sample("d", None, "t")])  # type: ignore[arg-type]
    assert "the answer is no text but a NoneType" in found.errors["c"]


def test_ground_truths_of_arrays_are_lists() -> None:
    class Array:
        def tolist(self) -> list[str]:
            return ["a"]

    scorer = Scorer([component(lambda solution_str, ground_truth: ground_truth == ["a"])], QUICK)
    assert scorer.score_now([Sample("d", "x", Array())])[0].total == 1.0


def gated(gate: Callable[..., Any], **changes: Any) -> tuple[list[Component], list[str]]:
    called: list[str] = []

    def second(solution_str: str) -> float:
        called.append(solution_str)
        return 1.0

    first = component(gate, "gate", maximum=1.0)
    return [first, component(second, "second", when="gate", **changes)], called


def test_a_gate() -> None:
    parts, called = gated(number, minimum=-1.0)
    found = run(parts, ["1", "0.5", "x"])
    assert called == ["1"]
    assert [s.components["second"] for s in found] == [1.0, -1.0, None]
    assert [s.total for s in found] == [2.0, -0.5, None]
    assert found[2].errors["second"] == "`gate`, which it waits for, is unavailable"
    parts, _ = gated(number)
    assert run(parts, ["0"])[0].components["second"] == 0.0, "0 where the minimum is not known"


def test_batched_gets_the_lists_at_once() -> None:
    seen: list[list[str]] = []

    @batched
    async def many(data_sources: Any, solution_strs: list[str], ground_truths: Any, extra_infos: Any) -> Any:
        seen.append(solution_strs)
        assert len(data_sources) == len(ground_truths) == len(extra_infos) == len(solution_strs)
        return tuple({"score": float(text), "n": len(solution_strs)} for text in solution_strs)

    parts, _ = gated(number)
    found = run([parts[0], component(many, when="gate")], ["1", "0", "1"])
    assert seen == [["1", "1"]], "and only those whose gate is open"
    assert [s.components["c"] for s in found] == [1.0, 0.0, 1.0]
    assert found[0].extra == {"c/n": 2}


@pytest.mark.parametrize("returned", [[1.0], 1.0, None, "ab", {"score": 1}])
def test_a_batch_of_the_wrong_shape(returned: Any) -> None:
    @batched
    def many(solution_strs: list[str]) -> Any:
        return returned

    found = run([component(many)], ["x", "y"])
    alone = returned == [1.0]  # a list of one is right for one
    assert [s.total for s in found] == ([1.0, 1.0] if alone else [None, None])


def test_components_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_rewards.py").write_text(
        "from residency.rewards.functions import scores, batched\n"
        "@scores(0.0, lambda args: args['most'])\n"
        "def ranged(solution_str, *, most=2.0): return most\n"
        "def bare(data_source, solution_str, ground_truth, extra_info=None): return 1\n"
        "def deaf(ground_truth): return 1\n"
        "class Judge:\n"
        "    @staticmethod\n"
        "    async def ask(solution_str): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))

    def of(*entries: dict[str, Any], **config: Any) -> tuple[Component, ...]:
        return spec.components({"rewards": list(entries), **config})

    a, b, c = of(
        {"fn": "some_rewards.ranged", "weight": 2, "args": {"most": 3.0}, "clip": [0.5, 2.5]},
        {"fn": "some_rewards.bare", "name": "b", "max": 1, "timeout": 3, "when": "some_rewards.ranged"},
        {"fn": "some_rewards.Judge.ask", "weight": -1},
    )
    assert (a.name, a.maximum, a.minimum, a.best, a.stated) == ("some_rewards.ranged", 2.5, 0.5, 5.0, (0, 3))
    assert (b.maximum, b.minimum, b.timeout, b.when, b.shut) == (1.0, None, 3, "some_rewards.ranged", 0.0)
    assert c.asynchronous
    assert spec.best_total([a, b]) == 6.0
    assert spec.best_total([a, c]) is None
    assert of({"fn": "some_rewards.ranged", "weight": -1})[0].best == 0.0, "a penalty's best is its lowest"
    assert spec.calls({"reward_calls": {"timeout": 2, "retries": 0}}) == Calls(timeout=2, retries=0)

    for entries, says in (
        ([{"fn": "some_rewards.none"}], "`some_rewards.none` is no function"),
        ([{"fn": "no_such_module.none"}], "is no function"),
        ([{"fn": "some_rewards.deaf"}], "no parameter `solution_str`"),
        ([{"fn": "some_rewards.ranged", "max": 5}], "the function scores from 0 to 2"),
        ([{"fn": "some_rewards.ranged", "args": {"most": -1}}], "its scores go from 0 to -1"),
        ([{"fn": "some_rewards.ranged", "args": {"most": "x"}}], "cannot be told"),
        ([{"fn": "some_rewards.bare", "clip": [1, 0]}], "goes from 1 to 0"),
        ([{"fn": "some_rewards.bare"}] * 2, "two rewards are named"),
        ([{"fn": "some_rewards.bare", "when": "x"}], "names no earlier reward"),
        ([{"fn": "some_rewards.bare", "name": "x"}, {"fn": "some_rewards.bare", "when": "x"}], "not known"),
    ):
        with pytest.raises(RecipeInvalid) as caught:
            of(*entries)
        assert says in str(caught.value)


RETURNED = st.one_of(st.floats(), st.integers(-3, 3), st.none(), st.text(max_size=3), st.booleans())


@settings(max_examples=60)
@given(
    table=st.lists(st.tuples(RETURNED, RETURNED), max_size=6),
    weights=st.tuples(st.floats(-2, 2), st.floats(-2, 2)),
    kind=st.sampled_from(["sync", "async", "batched"]),
)
def test_a_total_is_the_weighted_sum_or_nothing(
    table: list[tuple[Any, Any]], weights: tuple[float, float], kind: str
) -> None:
    def of(column: int) -> Callable[..., Any]:
        def one(solution_str: str) -> Any:
            return table[int(solution_str)][column]

        async def awaited(solution_str: str) -> Any:
            return one(solution_str)

        @batched
        def many(solution_strs: list[str]) -> Any:
            return [one(text) for text in solution_strs]

        return {"sync": one, "async": awaited, "batched": many}[kind]

    parts = [component(of(0), "a", weight=weights[0]), component(of(1), "b", weight=weights[1])]
    found = run(parts, [str(index) for index in range(len(table))])
    assert len(found) == len(table)
    for row, scored in zip(table, found, strict=True):
        wanted = [float(x) if isinstance(x, int | float) and math.isfinite(x) else None for x in row]
        assert list(scored.components.values()) == wanted
        assert set(scored.errors) == {name for name, x in zip("ab", wanted, strict=True) if x is None}
        if any(x is None and weight for x, weight in zip(wanted, weights, strict=True)):
            assert scored.total is None
        else:
            assert scored.total == pytest.approx(
                weights[0] * (wanted[0] or 0) + weights[1] * (wanted[1] or 0)
            )
