"""The batcher by itself: everyone gets their own, whatever is asked together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.retrieval.server.batcher import Batcher, Full, Stopped

Asked = list[tuple[list[str], int]]


class Recorder:
    """A search whose result says what was asked; counts what it is given."""

    def __init__(self) -> None:
        self.calls: Asked = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, queries: Sequence[str], topk: int) -> Any:
        self.gate.wait(10)
        self.calls.append((list(queries), topk))
        if "bad" in queries:
            raise ValueError("bad")
        return [[f"{query}/{place}" for place in range(topk)] for query in queries]


def run(work: Callable[[Batcher, Recorder], Any], **settings: Any) -> tuple[Any, Recorder]:
    recorder = Recorder()
    settings = {"batch": 8, "wait": 0.005, "queue": 1000, **settings}

    async def go() -> Any:
        batcher = Batcher(recorder, **settings)
        batcher.start()
        try:
            return await work(batcher, recorder)
        finally:
            recorder.gate.set()
            batcher.stop()

    return asyncio.run(go()), recorder


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from("abcdefgh"), max_size=12), st.integers(1, 3)),
        min_size=1,
        max_size=20,
    ),
    st.integers(1, 9),
)
def test_everyone_gets_their_own(asked: Asked, batch: int) -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> Any:
        return await asyncio.gather(*(batcher.submit(queries, topk, 10) for queries, topk in asked))

    found, recorder = run(work, batch=batch)
    for (queries, topk), results in zip(asked, found, strict=True):
        assert results == [[f"{query}/{place}" for place in range(topk)] for query in queries]
    assert all(0 < len(queries) <= batch for queries, _ in recorder.calls)
    assert all(len(set(queries)) == len(queries) for queries, _ in recorder.calls)


def test_what_waits_is_searched_at_once() -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> None:
        recorder.gate.clear()
        first = asyncio.create_task(batcher.submit(["first"], 1, 10))
        await asyncio.sleep(0.1)
        rest = [asyncio.create_task(batcher.submit([f"q{at}"], 1, 10)) for at in range(6)]
        await asyncio.sleep(0.05)
        assert batcher.waiting == 6
        recorder.gate.set()
        await asyncio.gather(first, *rest)
        assert batcher.waiting == 0

    _, recorder = run(work)
    assert recorder.calls == [(["first"], 1), ([f"q{at}" for at in range(6)], 1)]


def test_a_failure_is_for_who_asked_it() -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> Any:
        asked = (batcher.submit([query], 1, 10) for query in ("good", "bad", "fine"))
        return await asyncio.gather(*asked, return_exceptions=True)

    found, _ = run(work)
    assert found[0] == [["good/0"]]
    assert isinstance(found[1], ValueError)
    assert found[2] == [["fine/0"]]


def test_a_full_queue_and_one_request_that_is_larger_than_it() -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> None:
        assert len(await batcher.submit(list("abcdef"), 1, 10)) == 6
        recorder.gate.clear()
        busy = asyncio.create_task(batcher.submit(["x"], 1, 10))
        await asyncio.sleep(0.1)
        waiting = asyncio.create_task(batcher.submit(["y", "z"], 1, 10))
        await asyncio.sleep(0.02)
        with pytest.raises(Full):
            await batcher.submit(["1", "2", "3"], 1, 10)
        recorder.gate.set()
        await asyncio.gather(busy, waiting)
        assert await batcher.submit(["1"], 1, 10) == [["1/0"]]

    run(work, queue=4)


def test_who_gave_up_is_not_searched_for() -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> None:
        recorder.gate.clear()
        busy = asyncio.create_task(batcher.submit(["busy"], 1, 10))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            await batcher.submit(["late"], 1, 0.05)
        recorder.gate.set()
        await busy
        assert await batcher.submit(["next"], 1, 10) == [["next/0"]]

    _, recorder = run(work)
    assert [queries for queries, _ in recorder.calls] == [["busy"], ["next"]]


def test_after_the_stop_nothing_is_taken() -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> None:
        await asyncio.to_thread(batcher.stop)
        with pytest.raises(Stopped):
            await batcher.submit(["x"], 1, 1)

    run(work)


def test_it_says_when_nothing_would_be_answered() -> None:
    async def work(batcher: Batcher, recorder: Recorder) -> None:
        assert batcher.ill(0.01) is None
        recorder.gate.clear()
        asked = asyncio.ensure_future(batcher.submit(["a"], 1, 10))
        await asyncio.sleep(0.1)
        assert batcher.ill(0.01) == "one search has taken more than 0.01 s"
        assert batcher.ill(10) is None
        recorder.gate.set()
        assert await asked == [["a/0"]]
        assert batcher.ill(0.0) is None
        batcher.stop()
        assert batcher.ill(10) == "the search thread has ended"

    run(work)
