"""PubMed files read, filtered and sorted, several at once; what is done outlives an interruption."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from residency.engines.processors.notes import Notes
from residency.errors import StageFailed
from residency.files import read_json, sha256_value, write_json
from residency.processing import EXAMPLES, Report
from residency.pubmed.blocks import Broken
from residency.pubmed.corpus import row_of
from residency.pubmed.merge import Spool
from residency.pubmed.reader import records
from residency.pubmed.select import Filters

Files = list[tuple[str, Collection[int] | None]]
"""(path, the PMIDs that are meant, or None for all) of each file of a unit."""


@dataclass
class Spools:
    """The spools of one stage, a folder for each unit of files."""

    folder: Path
    filters: Filters
    notes: Notes
    threads: int = 1
    units: int = 0
    expected: int = 0
    """How many units there will be, as far as is known; an archive may hold more."""
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)
    _running: list[Future[dict[str, Any]]] = field(default_factory=list, init=False)

    def add(self, name: str, files: Files) -> None:
        """Read a unit, now or beside others."""
        target = self.folder / f"{self.units:05d}"
        order, self.units = self.units, self.units + 1
        key = _key(files, self.filters)
        before = read_json(target / "done.json")
        if isinstance(before, dict) and before.get("key") == key:
            self.notes.say(f"{name}: read before")
            return
        self.notes.say(f"reading {name}")
        of = f" ({order + 1} of {self.expected})" if order < self.expected > 1 else ""
        self.notes.progress(f"reading {name}{of}", force=True)
        if self.threads < 2:
            spool(files, order, self.filters, target, key)
            return
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.threads, mp_context=get_context("spawn"))
        self._running.append(self._pool.submit(spool, files, order, self.filters, target, key))
        while len([f for f in self._running if not f.done()]) > 2 * self.threads:
            self._running.pop(0).result()

    def close(self) -> tuple[list[Path], Report, list[dict[str, Any]]]:
        """(every run, what was read and dropped, the broken records)."""
        try:
            for future in self._running:
                future.result()
        except BrokenProcessPool:
            raise StageFailed(
                "a process that read a file was ended from outside, perhaps for want of memory",
                "run the same command again, perhaps with `resources: {cpus: 1}`; what was read is kept",
            ) from None
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
        report, broken, runs = Report(), [], []
        for n in range(self.units):
            target = self.folder / f"{n:05d}"
            said = read_json(target / "done.json")
            report.read += said["read"]
            for reason, count in said["dropped"].items():
                report.dropped[reason] = report.dropped.get(reason, 0) + count
                shown = report.examples.setdefault(reason, [])
                shown += said["examples"].get(reason, [])[: EXAMPLES - len(shown)]
            broken += said["broken"]
            runs += [target / name for name in said["runs"]]
        return runs, report, broken

    def forget(self) -> None:
        """Remove the spools, which the corpus has taken the place of."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _key(files: Files, filters: Filters) -> str:
    """What a unit is made from, so that one of an earlier attempt is used only for the same."""
    said = []
    for path, wanted in files:
        status = Path(path).stat()
        meant = None if wanted is None else sorted(wanted)
        said.append([path, status.st_size, status.st_mtime_ns, meant])
    return sha256_value([said, asdict(filters)])


def spool(files: Files, order: int, filters: Filters, target: Path, key: str) -> dict[str, Any]:
    """Read a unit into sorted runs below `target`; what `done.json` says, which is written last."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    report = Report()
    broken: list[dict[str, Any]] = []
    spooled = Spool(target)

    def note(one: Broken) -> None:
        report.read += 1
        report.drop("broken XML", f"{one.path.name}, byte {one.offset}: PMID {one.pmid or 'unknown'}")
        broken.append({**asdict(one), "path": str(one.path)})

    place = 0
    for path, wanted in files:
        for record in records(Path(path), names=True, broken=note):
            place += 1
            pmid = record["pmid"]
            if wanted is not None and (not pmid.isdecimal() or int(pmid) not in wanted):
                continue
            report.read += 1
            if not pmid.isdecimal():
                report.drop("no PMID", record.get("title"))
            elif record.get("book"):
                report.drop("an entry for a book", pmid)
            elif record.get("deleted"):
                report.read -= 1
                spooled.add(int(pmid), record["version"], order, place, {"deleted": True})
            else:
                row = row_of(record)
                reason = filters.reason(row)
                value = {"dropped": reason} if reason else row
                spooled.add(int(pmid), record["version"], order, place, value)
    said = {
        "key": key,
        "read": report.read,
        "dropped": report.dropped,
        "examples": report.examples,
        "broken": broken,
        "runs": [path.name for path in spooled.close()],
    }
    write_json(target / "done.json", said)
    return said
