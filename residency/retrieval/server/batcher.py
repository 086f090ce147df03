"""Searches the queries of different requests together.

Requests wait in a queue in front of one thread, which takes as many as there are, up to a bound,
and searches them at once: an encoder needs little longer for thirty queries than for one.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


class Hit(Protocol):
    """A document that was found."""

    @property
    def score(self) -> float:
        """Higher is better."""

    @property
    def document(self) -> dict[str, Any]:
        """At least `id`, `title`, `text` and `contents`."""


Results = list[list[Hit]]
Search = Callable[[Sequence[str], int], Results]


class Full(Exception):
    """More queries wait than may."""


class Stopped(Exception):
    """The server is stopping."""


@dataclass(slots=True)
class _Item:
    queries: list[str]
    topk: int
    future: asyncio.Future[Results]
    arrived: float = field(default_factory=time.monotonic)


class Batcher:
    """The queue and its thread. `submit` belongs to one event loop."""

    def __init__(
        self,
        search: Search,
        *,
        batch: int,
        wait: float,
        queue: int,
        observe: Callable[[int, float], None] = lambda queries, seconds: None,
    ) -> None:
        """Make a batcher; `start` starts its thread.

        Args:
            search: Finds the documents for each query.
            batch: Queries of one search at most.
            wait: Seconds that a query waits for others to be searched with.
            queue: Queries that may wait.
            observe: Told of each search: how many queries, how many seconds.
        """
        self._search = search
        self._batch = batch
        self._wait = wait
        self._limit = queue
        self._observe = observe
        self._items: deque[_Item] = deque()
        self._waiting = 0
        self._news = threading.Condition()
        self._stopping = False
        self._began: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._work, name="search", daemon=True)

    @property
    def waiting(self) -> int:
        """Queries in the queue."""
        return self._waiting

    def ill(self, seconds: float) -> str | None:
        """Why nothing would be answered: the thread has ended, or one search takes longer than `seconds`."""
        if not self._thread.is_alive():
            return "the search thread has ended"
        began = self._began
        if began is not None and time.monotonic() - began > seconds:
            return f"one search has taken more than {seconds:g} s"
        return None

    def start(self) -> None:
        """Start the thread; called in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Answer what is queued, and end the thread."""
        with self._news:
            self._stopping = True
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    async def submit(self, queries: list[str], topk: int, timeout: float) -> Results:
        """The documents for each query.

        Raises:
            Full: too many queries wait.
            TimeoutError: no answer within `timeout` seconds.
            Stopped: the server is stopping.
            Exception: whatever the search raised.
        """
        if not queries:
            return []
        assert self._loop is not None
        future: asyncio.Future[Results] = self._loop.create_future()
        with self._news:
            if self._stopping:
                raise Stopped
            # One that is larger than the whole queue is taken when nothing else waits.
            if self._waiting and self._waiting + len(queries) > self._limit:
                raise Full
            self._items.append(_Item(queries, topk, future))
            self._waiting += len(queries)
            self._news.notify()
        return await asyncio.wait_for(future, timeout)

    # ---- the thread

    def _work(self) -> None:
        while True:
            items = self._take()
            if items is None:
                return
            for topk in dict.fromkeys(item.topk for item in items):
                # Together only those of one topk: an index that approximates, or a fused ranking, may
                # rank the first three otherwise when ten are asked for.
                self._answer([item for item in items if item.topk == topk], topk)

    def _take(self) -> list[_Item] | None:
        """The next items: those that wait, or come within the wait of the first; None at the end."""
        with self._news:
            while not self._items:
                if self._stopping:
                    return None
                self._news.wait()
            until = self._items[0].arrived + self._wait
            while self._waiting < self._batch and not self._stopping:
                left = until - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    break
            taken: list[_Item] = []
            count = 0
            while self._items and (not taken or count + len(self._items[0].queries) <= self._batch):
                item = self._items.popleft()
                count += len(item.queries)
                self._waiting -= len(item.queries)
                if not item.future.done():  # who asked has given up
                    taken.append(item)
            return taken

    def _answer(self, items: list[_Item], topk: int) -> None:
        try:
            found = self._searched([query for item in items for query in item.queries], topk)
        except Exception as error:
            if len(items) == 1:
                self._deliver([(items[0], None, error)])
                return
            # One query that cannot be searched must not fail those of others.
            for item in items:
                self._answer([item], topk)
            return
        answers, at = [], 0
        for item in items:
            answers.append((item, found[at : at + len(item.queries)], None))
            at += len(item.queries)
        self._deliver(answers)

    def _searched(self, queries: list[str], topk: int) -> Results:
        """The documents for each query; equal queries are searched once, a long list in parts."""
        once = list(dict.fromkeys(queries))
        known: dict[str, list[Hit]] = {}
        for start in range(0, len(once), self._batch):
            part = once[start : start + self._batch]
            began = self._began = time.monotonic()
            try:
                found = self._search(part, topk)
            finally:
                self._began = None
            self._observe(len(part), time.monotonic() - began)
            known.update(zip(part, found, strict=True))
        return [known[query] for query in queries]

    def _deliver(self, answers: list[tuple[_Item, Results | None, Exception | None]]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(_settle, answers)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more


def _settle(answers: list[tuple[_Item, Results | None, Exception | None]]) -> None:
    for item, found, error in answers:
        if item.future.done():
            continue
        if error is not None:
            item.future.set_exception(error)
        elif found is not None:
            item.future.set_result(found)
