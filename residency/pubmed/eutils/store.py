"""PubMed records as NCBI sent them, kept in the download cache and fetched once.

    eutils/HOST/
      batches/ab/abcd….xml.gz   an answer of EFetch, byte for byte within gzip; its name is its hash
      index.sqlite              which batch has a PMID, and who is fetching what just now
      owners/                   a locked file for each process that is fetching

Recipes share it, and so do processes that run at the same time: a PMID that one of them is fetching
is left alone by the others. What a process that was killed had claimed is free again, since the
kernel has let go of its lock. A batch that was written but not yet indexed is found and indexed.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import sqlite3
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from residency.errors import StageFailed
from residency.files import atomic
from residency.pubmed.eutils import replies

_TABLES = """
CREATE TABLE IF NOT EXISTS batches (id INTEGER PRIMARY KEY, name TEXT UNIQUE, bytes INTEGER, fetched REAL);
CREATE TABLE IF NOT EXISTS records (pmid INTEGER PRIMARY KEY, batch INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS claims (pmid INTEGER PRIMARY KEY, owner TEXT NOT NULL);
"""
_BUSY_SECONDS = 120.0


class Store:
    """The records of one server. Threads may share it; close it, or use it in `with`."""

    def __init__(self, cache: Path, host: str) -> None:
        self.folder = cache / "eutils" / re.sub(r"[^A-Za-z0-9.-]", "_", host)
        (self.folder / "owners").mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(
                self.folder / "index.sqlite",
                timeout=_BUSY_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
            self._db.executescript(_TABLES)
            self._db.execute("CREATE TEMP TABLE wanted (pmid INTEGER PRIMARY KEY)")
            self._db.execute("CREATE TEMP TABLE unknown (pmid INTEGER PRIMARY KEY)")
        except sqlite3.DatabaseError as error:
            raise StageFailed(
                f"{self.folder / 'index.sqlite'} cannot be used: {error}",
                "delete that file and run again: the batches beside it are kept and indexed anew",
            ) from None
        self.owner = uuid.uuid4().hex
        self._owner_file = (self.folder / "owners" / self.owner).open("w")
        fcntl.flock(self._owner_file, fcntl.LOCK_EX)
        self._adopt()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up what was claimed."""
        with self._write() as db:
            db.execute("DELETE FROM claims WHERE owner = ?", (self.owner,))
        self._db.close()
        (self.folder / "owners" / self.owner).unlink(missing_ok=True)
        self._owner_file.close()

    def missing(self, pmids: Iterable[int]) -> list[int]:
        """Those that are not here, ascending. A batch that is gone or was changed does not count."""
        with self._write() as db:
            db.execute("DELETE FROM wanted")
            db.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((p,) for p in pmids))
            used = db.execute(
                "SELECT DISTINCT b.id, b.name, b.bytes FROM wanted w JOIN records r USING (pmid) "
                "JOIN batches b ON b.id = r.batch"
            ).fetchall()
            for number, name, size in used:
                path = self._path(name)
                if not path.is_file() or path.stat().st_size != size:
                    path.unlink(missing_ok=True)
                    db.execute("DELETE FROM records WHERE batch = ?", (number,))
                    db.execute("DELETE FROM batches WHERE id = ?", (number,))
            found = db.execute(
                "SELECT w.pmid FROM wanted w LEFT JOIN records r USING (pmid) "
                "WHERE r.pmid IS NULL ORDER BY w.pmid"
            )
            return [row[0] for row in found]

    def claim(self, pmids: list[int], size: int) -> tuple[list[int], list[int], list[int]]:
        """Take up to `size` of them to fetch.

        Returns:
            (taken, here: meanwhile somebody fetched them, held: another process is fetching them),
            all from the beginning of `pmids`; what lies behind was not looked at.
        """
        taken: list[int] = []
        here: list[int] = []
        held: list[int] = []
        dead: dict[str, bool] = {}
        with self._write() as db:
            for pmid in pmids:
                if len(taken) == size or len(held) > 20 * size:
                    break
                if db.execute("SELECT 1 FROM records WHERE pmid = ?", (pmid,)).fetchone():
                    here.append(pmid)
                    continue
                row = db.execute("SELECT owner FROM claims WHERE pmid = ?", (pmid,)).fetchone()
                if row is not None and row[0] != self.owner:
                    if row[0] not in dead:
                        dead[row[0]] = self._gone(row[0])
                    if not dead[row[0]]:
                        held.append(pmid)
                        continue
                db.execute("INSERT OR REPLACE INTO claims VALUES (?, ?)", (pmid, self.owner))
                taken.append(pmid)
        return taken, here, held

    def release(self, pmids: Iterable[int]) -> None:
        """Let others fetch them."""
        with self._write() as db:
            db.executemany(
                "DELETE FROM claims WHERE pmid = ? AND owner = ?", ((p, self.owner) for p in pmids)
            )

    def add(self, content: bytes, pmids: Iterable[int]) -> None:
        """Keep an answer, and note which records are in it. It is on the disk when this returns."""
        name = hashlib.sha256(content).hexdigest()[:40]
        path = self._path(name)
        if not path.is_file():
            with atomic(path, "wb") as out:
                out.write(gzip.compress(content, compresslevel=6, mtime=0))
        self._index(name, path.stat().st_size, pmids)

    def files(self, pmids: Iterable[int]) -> dict[Path, set[int]]:
        """The batches that hold these records: file → which of them. Those not here are left out."""
        with self._write() as db:
            db.execute("DELETE FROM wanted")
            db.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", ((p,) for p in pmids))
            found: dict[Path, set[int]] = defaultdict(set)
            for pmid, name in db.execute(
                "SELECT w.pmid, b.name FROM wanted w JOIN records r USING (pmid) "
                "JOIN batches b ON b.id = r.batch ORDER BY b.id, w.pmid"
            ):
                found[self._path(name)].add(pmid)
        return dict(found)

    def _path(self, name: str) -> Path:
        return self.folder / "batches" / name[:2] / f"{name}.xml.gz"

    def _index(self, name: str, size: int, pmids: Iterable[int]) -> None:
        pmids = list(pmids)
        with self._write() as db:
            db.execute(
                "INSERT INTO batches (name, bytes, fetched) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes",
                (name, size, time.time()),
            )
            (number,) = db.execute("SELECT id FROM batches WHERE name = ?", (name,)).fetchone()
            db.executemany("INSERT OR REPLACE INTO records VALUES (?, ?)", ((p, number) for p in pmids))
            db.executemany("DELETE FROM claims WHERE pmid = ?", ((p,) for p in pmids))

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction; another process's is waited for."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def _gone(self, owner: str) -> bool:
        """Whether the process with that name is no more."""
        path = self.folder / "owners" / owner
        try:
            with path.open("r+") as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        return True

    def _adopt(self) -> None:
        """Index the batches that a killed process wrote and did not index; remove what it half wrote."""
        with self._lock:
            known = {row[0] for row in self._db.execute("SELECT name FROM batches")}
        folder = self.folder / "batches"
        for entry in os.scandir(folder) if folder.is_dir() else ():
            for file in os.scandir(entry.path):
                name = file.name.removesuffix(".xml.gz")
                if name == file.name or name in known or file.name.startswith("."):
                    continue
                path = Path(file.path)
                try:
                    content = gzip.decompress(path.read_bytes())
                    pmids = replies.pmids(content)
                except (OSError, EOFError, replies.Unsound, replies.Refused, ValueError):
                    continue
                if hashlib.sha256(content).hexdigest()[:40] == name:
                    self._index(name, path.stat().st_size, pmids)
