"""Threads that may be left behind: one whose call never returns keeps neither others nor the exit waiting."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Threads:
    """Daemon threads, used again once idle; there are as many as jobs under way at once."""

    def __init__(self) -> None:
        self._reset()
        # A forked child has the counters of its parent and none of its threads.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, job: Callable[[], None]) -> None:
        """Run the job in a thread, at once. The job must not raise."""
        with self._lock:
            fresh = self._idle == 0
            self._idle -= 0 if fresh else 1
        self._jobs.put(job)
        if fresh:
            threading.Thread(target=self._work, name="reward", daemon=True).start()

    def _work(self) -> None:
        jobs = self._jobs
        while True:
            jobs.get()()
            with self._lock:
                self._idle += 1

    def wait_for(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in a loop that lives in a thread of its own, and wait for it.

        Clients that belong to their loop (of HTTP, say) live on from call to call; a coroutine
        that will not end does not keep the caller, whatever loop that runs in itself.
        """
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="rewards", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                future.cancel()
            raise


THREADS = Threads()
"""Those of this process."""
