"""Makes a Boolean index: fetches what the recipe names, and hands its records to the builder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from residency.engines.processors.notes import Notes
from residency.engines.retrieval.engine import INDEX, LOG, REPORT
from residency.engines.retrieval.paths import locate
from residency.files import write_json
from residency.processing import Report
from residency.retrieval.boolean.build import build
from residency.retrieval.records import pubmed_rows

EVERY = 5000
"""Records between two rows of the log."""


class BooleanMaker:
    """One stage."""

    less_memory = "index fewer records (`limit`), or use a machine with more memory"

    def __init__(self, stage: Mapping[str, Any], folder: Path) -> None:
        """Take the stage that `engine.prepare` wrote, and its folder."""
        self.stage = stage
        self.folder = folder
        self.notes = Notes(folder)
        self.began = time.monotonic()

    def make(self) -> None:
        """Make the index.

        Raises:
            ResidencyError: what is missing or wrong, in a sentence.
        """
        base = Path(self.stage["base"])
        paths, sources = locate(self.stage["corpus"], base, self.notes, "corpus")
        mesh = None
        if self.stage.get("mesh"):
            (mesh, *_), _ = locate([self.stage["mesh"]], base, self.notes, "MeSH")
        report = Report()
        self.notes.progress("reading", force=True)
        target = self.folder / "outputs" / INDEX
        manifest = build(self._rows(paths, report), target, mesh, self._progress)
        dropped = {item["reason"]: item["n"] for item in report.to_json()["dropped"]}
        said = {
            "records": manifest["count"],
            "words": manifest["words"],
            "headings": (manifest["mesh"] or {}).get("headings", 0),
            "bytes": sum(facts["bytes"] for facts in manifest["files"].values()),
            "seconds": round(time.monotonic() - self.began, 1),
            "from": sources,
            "left_out": dropped,
        }
        write_json(self.folder / REPORT, said)
        left = "".join(f"; left out: {n:,} {reason}" for reason, n in dropped.items())
        self.notes.say(f"done: {manifest['count']:,} records in {said['seconds']:.0f} s{left}")

    def _rows(self, paths: list[Path], report: Report) -> Iterator[dict[str, Any]]:
        return islice(pubmed_rows(paths, report), self.stage.get("limit"))

    def _progress(self, count: int) -> None:
        """Called every 1,000 records, and once more when all arrays are written."""
        self.notes.progress("reading", step=count)
        if count % EVERY == 0:
            seconds = time.monotonic() - self.began
            row = {"step": count, "seconds": round(seconds, 2), "records_per_second": round(count / seconds)}
            with (self.folder / LOG).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")
