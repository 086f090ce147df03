"""How components are called: time limits, retries, many at once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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
