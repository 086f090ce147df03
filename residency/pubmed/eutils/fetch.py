"""All records of a list of PMIDs into the store, whatever the server does on the way.

Batches are fetched several at a time, as the limit allows. A batch that fails is put back, in halves, until
the rest is safe, so that one record that the server cannot give takes no other with it. What still
fails is named in the end, when everything else is on the disk.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from residency.errors import Missing
from residency.pubmed.eutils.client import Client
from residency.pubmed.eutils.store import Store

BATCH = 200
LATER_TRIES = 3
"""Attempts at the halves of a batch that has failed."""
ABSENT_AFTER = 4
"""Sound answers without a record before it counts as one that PubMed does not have."""
GIVE_UP_AFTER = 6
"""Batches in a row that fail before the server counts as down."""
_WAIT_SECONDS = 0.5


@dataclass
class Outcome:
    """What came of a list of PMIDs."""

    here: int = 0
    """Records that were in the store before."""
    fetched: int = 0
    absent: list[int] = field(default_factory=list)
    """PubMed answered, without these."""
    failed: list[tuple[list[int], str]] = field(default_factory=list)
    """(PMIDs, why) of each batch that failed."""
    seconds: float = 0.0

    @property
    def failures(self) -> list[int]:
        """Every PMID that could not be fetched."""
        return sorted(pmid for batch, _ in self.failed for pmid in batch)


@dataclass
class _Task:
    pmids: list[int]
    tries: int | None = None
    """None for as many as the client is patient for."""


def fetch_all(
    pmids: Iterable[int],
    store: Store,
    client: Client,
    *,
    batch: int = BATCH,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
    workers: int | None = None,
) -> Outcome:
    """Bring every record into the store.

    Args:
        pmids: Which.
        store: Where they are kept.
        client: Asks the server.
        batch: Records in a request; NCBI asks for no more than a few hundred.
        progress: Is told (what, records that are safe, records in all) after each batch.
        workers: Requests under way at once.
    """
    asked = sorted(set(pmids))
    began = time.monotonic()
    missing = store.missing(asked)
    outcome = Outcome(here=len(asked) - len(missing))
    run = _Run(store, client, batch, progress, outcome, len(asked), began)
    run.free.extend(missing)
    with ThreadPoolExecutor(workers or client.workers, thread_name_prefix="efetch") as pool:
        try:
            run.go(pool, workers or client.workers)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    outcome.absent.sort()
    outcome.failed.sort()
    outcome.seconds = time.monotonic() - began
    return outcome


@dataclass
class _Run:
    """One call of `fetch_all` under way."""

    store: Store
    client: Client
    batch: int
    progress: Callable[[str, int, int], None]
    outcome: Outcome
    total: int
    began: float
    free: deque[int] = field(default_factory=deque)
    """PMIDs that nobody has been asked for yet."""
    later: deque[_Task] = field(default_factory=deque)
    """Halves of batches that failed."""
    running: dict[Future[tuple[bytes, list[int]]], _Task] = field(default_factory=dict)
    absences: Counter[int] = field(default_factory=Counter)
    in_a_row: int = 0
    down: str = ""
    """Why the server counts as down."""

    def go(self, pool: ThreadPoolExecutor, workers: int) -> None:
        while True:
            while not self.down and len(self.running) < workers and (task := self._next()):
                future = pool.submit(self.client.fetch, task.pmids, task.tries)
                self.running[future] = task
            if not self.running:
                if self.down or not (self.free or self.later):
                    break
                self._say("another process is fetching the rest; waiting for it")
                time.sleep(_WAIT_SECONDS)
                continue
            done, _ = wait(self.running, return_when=FIRST_COMPLETED)
            for future in done:
                self._take(future, self.running.pop(future))
        if self.down:
            left = [*self.free, *(p for task in self.later for p in task.pmids)]
            if left:
                self.outcome.failed.append((left, self.down))

    def _next(self) -> _Task | None:
        """The next batch: of what nobody has asked for, then of what failed before."""
        if self.free:
            taken, here, held = self.store.claim(list(self._ahead()), self.batch)
            for _ in range(len(taken) + len(here) + len(held)):
                self.free.popleft()
            self.free.extend(held)  # looked at again when the others are done
            self.outcome.here += len(here)
            if taken:
                return _Task(taken)
        while self.later and not self.free:
            task = self.later.popleft()
            taken, here, held = self.store.claim(task.pmids, len(task.pmids))
            self.outcome.here += len(here)
            self.free.extend(held)
            if taken:
                return _Task(taken, task.tries)
        return None

    def _ahead(self) -> Iterable[int]:
        """The PMIDs that the next claim looks at."""
        for n, pmid in enumerate(self.free):
            if n >= 40 * self.batch:
                return
            yield pmid

    def _take(self, future: Future[tuple[bytes, list[int]]], task: _Task) -> None:
        """File the answer, or note why there is none."""
        try:
            content, got = future.result()
        except Missing as error:
            self._failed(task, error.message)
            return
        self.in_a_row = 0
        wanted = set(task.pmids)
        came = wanted & set(got)
        if came:
            self.store.add(content, came)
        self.outcome.fetched += len(came)
        left = sorted(wanted - came)
        if left:
            self.absences.update(left)
            self.store.release(left)
            gone = [pmid for pmid in left if self.absences[pmid] >= ABSENT_AFTER]
            again = [pmid for pmid in left if self.absences[pmid] < ABSENT_AFTER]
            self.outcome.absent += gone
            if again:
                self.later.append(_Task(again))
        self._say("")

    def _failed(self, task: _Task, why: str) -> None:
        self.store.release(task.pmids)
        self.in_a_row += 1
        limit = GIVE_UP_AFTER * (4 if self.outcome.fetched else 1)
        if self.in_a_row >= limit:
            self.down = why
            self.outcome.failed.append((task.pmids, why))
        elif len(task.pmids) > 1:
            middle = (len(task.pmids) + 1) // 2
            tries = min(LATER_TRIES, self.client.patience.tries)
            self.later.append(_Task(task.pmids[:middle], tries))
            self.later.append(_Task(task.pmids[middle:], tries))
            self._say(f"a batch of {len(task.pmids)} failed ({why}); it comes again in halves")
        else:
            self.outcome.failed.append((task.pmids, why))

    def _say(self, text: str) -> None:
        """Progress, with the rate and the time left."""
        outcome = self.outcome
        safe = outcome.here + outcome.fetched
        seconds = max(time.monotonic() - self.began, 1e-3)
        rate = outcome.fetched / seconds
        if not text and rate:
            left = (self.total - safe) / rate
            text = f"{rate:,.0f} records/s, {_duration(left)} left"
        self.progress(text, safe, self.total)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
