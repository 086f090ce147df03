"""Many requests under way at once; the first that fails for good ends all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
LINGER_SECONDS = 20.0
"""After a failure, how long answers that are under way may still come in to be kept."""


def each(
    items: Iterable[T],
    ask: Callable[[T], Any],
    *,
    concurrency: int,
    stop: Callable[[], object] = lambda: None,
    linger: float = LINGER_SECONDS,
) -> Iterator[tuple[T, Any]]:
    """Each item with what `ask` gave for it, in the order in which the answers come.

    Items are taken one by one as there is room, so that they may be many. When a call raises, no
    further one begins, those under way get `linger` seconds, and the exception is raised here.

    Args:
        items: What is asked.
        ask: Called in threads, `concurrency` at once. What it wants kept it keeps itself.
        concurrency: Calls at once.
        stop: Called once after a failure: ends the waits of those under way.
        linger: See above.
    """
    done: queue.SimpleQueue[tuple[T, Any, BaseException | None]] = queue.SimpleQueue()
    todo: queue.SimpleQueue[T | None] = queue.SimpleQueue()
    threads: list[threading.Thread] = []

    def work() -> None:
        while (item := todo.get()) is not None:
            try:
                done.put((item, ask(item), None))
            except BaseException as error:
                done.put((item, None, error))

    source = iter(items)
    under_way = 0
    failed: BaseException | None = None
    try:
        while True:
            while failed is None and under_way < concurrency:
                try:
                    item = next(source)
                except StopIteration:
                    break
                if under_way == len(threads):
                    # Daemons: a call that hangs must not keep the process from ending.
                    threads.append(threading.Thread(target=work, daemon=True))
                    threads[-1].start()
                todo.put(item)
                under_way += 1
            if not under_way:
                break
            try:
                item, answer, error = done.get(timeout=linger if failed else None)
            except queue.Empty:
                break
            under_way -= 1
            if error is None:
                yield item, answer
            elif failed is None:
                failed = error
                stop()
        if failed is not None:
            raise failed
    finally:
        for _ in threads:
            todo.put(None)
