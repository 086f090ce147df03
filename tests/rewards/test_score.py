"""How components are called and summed: what fails is unavailable, never 0."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.errors import RecipeInvalid
from residency.rewards import spec
from residency.rewards.functions import batched, scores
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


def test_retried_until_it_works() -> None:
    tries: dict[str, int] = {}

    def flaky(solution_str: str) -> float:
        tries[solution_str] = tries.get(solution_str, 0) + 1
        if solution_str == "b" and tries["b"] < 3:
            raise ConnectionError("refused")
        return 1.0

    calls = Calls(timeout=1, retries=2, back_off=0.01)
    assert [s.total for s in run([component(flaky)], ["a", "b", "c"], calls)] == [1, 1, 1]
    assert tries == {"a": 1, "b": 3, "c": 1}, "only what failed is called again"
    tries.clear()
    found = run([component(flaky)], ["b"], Calls(timeout=1, retries=1, back_off=0.01))
    assert found[0].errors == {"c": "ConnectionError: refused"}


def test_wrong_values_are_not_retried() -> None:
    made: list[str] = []
    run([component(lambda solution_str: made.append(solution_str))], ["x"])
    assert made == ["x"]


def test_the_pause_grows() -> None:
    def never(solution_str: str) -> float:
        raise OSError("gone")

    began = time.monotonic()
    run([component(never)], ["a", "b"], Calls(retries=2, back_off=0.1))
    assert 0.3 <= time.monotonic() - began < 1.5, "0.1 and 0.2 s, once for all samples"


@pytest.mark.parametrize("kind", ["sync", "async", "stubborn", "batched"])
def test_a_call_that_takes_too_long(kind: str) -> None:
    release = threading.Event()

    def sync(solution_str: str) -> float:
        if solution_str == "slow":
            release.wait(20)
        return 1.0

    async def awaited(solution_str: str) -> float:
        await asyncio.sleep(20 if solution_str == "slow" else 0)
        return 1.0

    async def stubborn(solution_str: str) -> float:
        end = time.monotonic() + (3 if solution_str == "slow" else 0)
        while time.monotonic() < end:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue
        return 1.0

    @batched
    def many(solution_strs: list[str]) -> list[float]:
        return [sync(text) for text in solution_strs]

    fn = {"sync": sync, "async": awaited, "stubborn": stubborn, "batched": many}[kind]
    scorer = Scorer([component(fn)], QUICK)
    began = time.monotonic()
    found = scorer.score_now([Sample("d", text, "t") for text in ("x", "slow", "y")])
    assert time.monotonic() - began < 2
    assert [s.total for s in found] == [1, None, 1]
    assert found[1].errors == {"c": "no answer within 0.15 s"}
    if kind in ("sync", "batched"):
        assert scorer.hanging > 0
        assert scorer.left_behind >= scorer.hanging
        release.set()
        end = time.monotonic() + 5
        while scorer.hanging and time.monotonic() < end:
            time.sleep(0.01)
        assert scorer.hanging == 0, "a thread that comes back is counted no more"


def test_a_component_has_a_limit_of_its_own() -> None:
    def slow(solution_str: str) -> float:
        time.sleep(0.3)
        return 1.0

    (found,) = run([component(slow, timeout=5.0)], ["x"])
    assert found.total == 1.0


def test_when_all_hang_it_gives_up() -> None:
    def hang(solution_str: str) -> float:
        time.sleep(1.5)
        return 1.0

    scorer = Scorer([component(hang)], Calls(timeout=0.05, retries=0, concurrency=4))
    began = time.monotonic()
    found = scorer.score_now([Sample("d", str(i), "t") for i in range(500)])
    assert time.monotonic() - began < 1.4
    assert all(s.total is None for s in found)
    assert scorer.left_behind <= 12
    assert any("not called" in s.errors["c"] for s in found)


def test_slow_calls_are_made_at_once() -> None:
    most = 0
    now = 0
    lock = threading.Lock()

    def slow(solution_str: str) -> float:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return 1.0

    began = time.monotonic()
    run([component(slow, "a"), component(slow, "b")], ["x"] * 32, Calls(timeout=5, concurrency=8))
    assert most == 8, "as many as may be, over all components"
    assert time.monotonic() - began < 2.0


def test_async_calls_are_made_at_once() -> None:
    most = 0
    now = 0

    async def slow(solution_str: str) -> float:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return 1.0

    run([component(slow)], ["x"] * 40, Calls(timeout=5, concurrency=8))
    assert most == 8


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


def test_a_dead_service_is_not_asked_for_each_row() -> None:
    made: list[int] = []

    @batched
    def dead(solution_strs: list[str]) -> Any:
        made.append(len(solution_strs))
        raise ConnectionError("refused")

    found = run([component(dead)], ["x"] * 100)
    assert made == [100, 100, 1, 1, 1, 1]
    assert {s.errors["c"] for s in found} == {"ConnectionError: refused"}


def test_nothing_to_score() -> None:
    assert run([component(number)], []) == []


def test_from_within_a_loop_and_from_many_threads() -> None:
    scorer = Scorer([component(number)], QUICK)

    async def inside() -> float | None:
        return scorer.score_now([Sample("d", "2", "t")])[0].total

    assert asyncio.run(inside()) == 2.0

    async def many() -> list[list[Scored]]:
        return await asyncio.gather(*(scorer.score([Sample("d", str(i), "t")]) for i in range(100)))

    assert [s[0].total for s in asyncio.run(many())] == list(range(100))


def test_cancelled_scoring_leaves_nothing_waiting() -> None:
    def slow(solution_str: str) -> float:
        time.sleep(0.2)
        return 1.0

    scorer = Scorer([component(slow)], Calls(timeout=5, concurrency=2))

    async def cancelled() -> list[Scored]:
        task = asyncio.create_task(scorer.score([Sample("d", "x", "t")] * 50))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(scorer.score([Sample("d", "y", "t")]), 3)

    assert asyncio.run(cancelled())[0].total == 1.0, "the slots are free again"


def test_a_hanging_call_does_not_keep_the_process() -> None:
    code = """
import time
from residency.rewards.score import Sample, Scorer
from residency.rewards.spec import Calls, Component
def hang(solution_str):
    time.sleep(600)
scorer = Scorer([Component("c", hang)], Calls(timeout=0.1, retries=0))
print(scorer.score_now([Sample("d", "x", "t")])[0].errors, scorer.hanging)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == "{'c': 'no answer within 0.1 s'} 1"


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


@pytest.mark.slow
def test_two_thousand_quick_calls() -> None:
    @scores(0.0, 1.0)
    def quick(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> float:
        return float("<answer>" in solution_str)

    parts = [component(quick, str(i)) for i in range(3)]
    samples = [Sample("d", "<answer>yes</answer>" * 20, "yes")] * 2048
    scorer = Scorer(parts, Calls())
    began = time.perf_counter()
    scorer.score_now(samples)
    assert time.perf_counter() - began < 0.5
