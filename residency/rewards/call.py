"""Calls of reward functions, each within its time limit, each outcome a score or the reason for none."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from threading import Lock
from typing import Any, NamedTuple

from residency.rewards.spec import EPSILON
from residency.rewards.threads import THREADS

FIRST_LOOK = 0.005
LAST_LOOK = 0.05
SLOW_CALL = 0.002
"""Seconds; calls that take longer on average wait for something, and more are made at once."""


class Value(NamedTuple):
    """A score within its bounds, and what the function said beside it."""

    score: float
    extra: Mapping[str, Any] = {}


class Fault(NamedTuple):
    """Why there is no score."""

    reason: str
    again: bool = False
    """Whether another try may help: after an exception or a time-out."""
    timed_out: bool = False


Outcome = Value | Fault
Raw = tuple[Any] | Fault
"""What a call returned, in a tuple of one, or why it returned nothing."""


class Attempt:
    """One try of a number of calls: what has come of it so far."""

    def __init__(self, timeout: float, concurrency: int) -> None:
        self.timeout = timeout
        self.concurrency = concurrency
        self.results: dict[int, Raw] = {}
        self.late = 0

    def put(self, index: int, result: Raw) -> None:
        """Take over what came of a call."""
        self.results[index] = result
        if isinstance(result, Fault) and result.timed_out:
            self.late += 1

    @property
    def hopeless(self) -> bool:
        """Whether to give up on the calls not yet made: nearly all of many took too long."""
        return self.late >= 2 * self.concurrency and 2 * self.late > len(self.results)

    def late_fault(self) -> Fault:
        """The fault of a call that took too long."""
        return Fault(f"no answer within {self.timeout:g} s", again=True, timed_out=True)

    def give_up(self, indices: Iterable[int]) -> None:
        """Calls that are not made."""
        for index in indices:
            self.results[index] = Fault(
                f"not called, since {self.late} calls before it took too long", again=True
            )


def raised(error: BaseException) -> Fault:
    """The fault of a call that raised."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return Fault(text[:300], again=True)


class _Worker:
    """A thread that makes one call after the other."""

    def __init__(self, batch: _Batch) -> None:
        self.batch = batch
        self.index: int | None = None
        self.since = 0.0
        self.lost = False
        """Set when its call has taken too long: its result counts no more."""
        self.ended = False

    def run(self) -> None:
        batch = self.batch
        result: Raw | None = None
        while True:
            with batch.lock:
                if self.lost:
                    batch.hanging.remove(self)
                    return
                if self.index is not None and result is not None:
                    batch.attempt.put(self.index, result)
                self.index = batch.left.popleft() if batch.left else None
                if self.index is None:
                    self.ended = True
                    break
                self.since = time.monotonic()
            try:
                result = (batch.call(self.index),)
            except BaseException as error:
                # SystemExit and the like too: a function must not end the run.
                result = raised(error)
        batch.wake()


class _Batch:
    """Calls that threads share among them, and what the loop that waits for them must know."""

    def __init__(
        self, call: Callable[[int], Any], indices: Iterable[int], attempt: Attempt, hanging: Hanging
    ):
        self.call = call
        self.left = deque(indices)
        self.attempt = attempt
        self.hanging = hanging
        self.lock = Lock()
        self.event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """Tell the loop that a thread has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self.event.set)


class Hanging:
    """The threads that were left behind and have not come back."""

    def __init__(self) -> None:
        self._workers: set[int] = set()
        self.total = 0
        """How many there ever were."""

    def __len__(self) -> int:
        return len(self._workers)

    def add(self, worker: object) -> None:
        """A thread is left behind."""
        self.total += 1
        self._workers.add(id(worker))

    def remove(self, worker: object) -> None:
        """It has come back."""
        self._workers.discard(id(worker))


async def in_threads(
    call: Callable[[int], Any],
    indices: Iterable[int],
    attempt: Attempt,
    slots: asyncio.Semaphore,
    hanging: Hanging,
) -> None:
    """Make `call(index)` for each index in threads; what comes of it goes to `attempt`.

    One thread makes quick calls one after the other: switching between threads would cost more
    than they do. Where calls are slow, there are soon as many threads as may be.

    Args:
        call: Called in a thread.
        indices: What it is called with.
        attempt: Takes the results; its `timeout` holds for each call.
        slots: Limits the calls under way at once.
        hanging: Counts the threads whose call took too long; they are not waited for.
    """
    batch = _Batch(call, indices, attempt, hanging)
    workers: list[_Worker] = []
    look = min(FIRST_LOOK, attempt.timeout / 4)
    before, seen = time.monotonic(), 0
    try:
        while batch.left or workers:
            if batch.left and not workers:
                await slots.acquire()
                workers.append(_start(batch))
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(batch.event.wait(), look)
            batch.event.clear()
            workers = _sweep(batch, workers, slots)
            if attempt.hopeless:
                with batch.lock:
                    dropped, batch.left = list(batch.left), deque()
                attempt.give_up(dropped)
            now, done = time.monotonic(), len(attempt.results)
            if batch.left and workers and (done - seen) * SLOW_CALL < (now - before) * len(workers):
                for _ in range(len(workers)):
                    if slots.locked() or len(workers) >= min(attempt.concurrency, len(batch.left) + 1):
                        break
                    await slots.acquire()
                    workers.append(_start(batch))
            before, seen = now, done
            look = min(2 * look, LAST_LOOK, attempt.timeout / 4)
    finally:
        with batch.lock:
            batch.left.clear()
            for worker in workers:  # only when this was cancelled
                _leave(worker, batch, slots)


def _start(batch: _Batch) -> _Worker:
    worker = _Worker(batch)
    THREADS.start(worker.run)
    return worker


def _sweep(batch: _Batch, workers: list[_Worker], slots: asyncio.Semaphore) -> list[_Worker]:
    """The threads still at work; of the others the slots are free again."""
    with batch.lock:
        now = time.monotonic()
        for worker in workers:
            if worker.ended:
                slots.release()
            elif worker.index is not None and now - worker.since > batch.attempt.timeout:
                batch.attempt.put(worker.index, batch.attempt.late_fault())
                _leave(worker, batch, slots)
        return [worker for worker in workers if not worker.ended and not worker.lost]


def _leave(worker: _Worker, batch: _Batch, slots: asyncio.Semaphore) -> None:
    slots.release()
    if not worker.ended and not worker.lost:
        worker.lost = True
        batch.hanging.add(worker)


async def in_loop(
    call: Callable[[int], Awaitable[Any]], indices: Iterable[int], attempt: Attempt, slots: asyncio.Semaphore
) -> None:
    """Await `call(index)` for each index, as many at once as there are slots."""

    async def guarded(index: int) -> Raw:
        try:
            return (await call(index),)
        except (Exception, SystemExit) as error:
            return raised(error)

    async def one(index: int) -> None:
        async with slots:
            if attempt.hopeless:
                attempt.give_up([index])
                return
            task = asyncio.ensure_future(guarded(index))
            try:
                await asyncio.wait({task}, timeout=attempt.timeout)
                if not task.done():
                    attempt.put(index, attempt.late_fault())
                elif task.cancelled():
                    attempt.put(index, Fault("it was cancelled", again=True))
                else:
                    attempt.put(index, task.result())
            finally:
                task.cancel()  # not waited for: it may refuse to end

    await asyncio.gather(*(one(index) for index in indices))


def value(returned: object, stated: tuple[float, float] | None) -> Outcome:
    """What a function returned as a score, or why it is none.

    Args:
        returned: A number, or a mapping with `score`.
        stated: The range that the function states.
    """
    extra: Mapping[str, Any] = {}
    if isinstance(returned, Mapping):
        if "score" not in returned:
            return Fault(f"it returned a mapping without `score`: {', '.join(map(str, returned))[:80]}")
        extra = {str(key): item for key, item in returned.items() if key != "score"}
        returned = returned["score"]
    if not isinstance(returned, int | float) and hasattr(returned, "item"):
        try:
            returned = returned.item()  # of numpy or torch, when it holds one number
        except (TypeError, ValueError, RuntimeError):
            return Fault(f"it returned {_what(returned)}")
    if not isinstance(returned, int | float):
        return Fault(f"it returned {_what(returned)}")
    try:
        score = float(returned)
    except OverflowError:
        return Fault("it returned a number that is too large")
    if not math.isfinite(score):
        return Fault(f"it returned {score}")
    if stated is not None and not stated[0] - EPSILON <= score <= stated[1] + EPSILON:
        return Fault(f"it returned {score:g}, and says that it scores from {stated[0]:g} to {stated[1]:g}")
    return Value(score, extra)


def _what(returned: object) -> str:
    if returned is None:
        return "nothing"
    if isinstance(returned, str):
        return f"the text {returned[:40]!r}, not a number"
    if hasattr(returned, "close") and hasattr(returned, "__await__"):
        returned.close()
        return "a coroutine: write it as `async def`"
    return f"a {type(returned).__name__}, not a number"
