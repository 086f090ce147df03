"""The engine of `corpus` stages: one command of our own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.engines.corpus import spec
from residency.engines.log import last_error, last_line
from residency.files import read_json
from residency.paths import PROJECT

MAIN = "residency.engines.corpus.main"
CONFIG = "stage.yaml"


class CorpusEngine(Engine):
    """PubMed records into Parquet."""

    name: ClassVar[str] = "corpus"
    distribution: ClassVar[str] = "residency"
    exits_as_launcher: ClassVar[bool] = True

    def version(self) -> str | None:
        """The version of the project itself."""
        return __version__

    def prepare(self, job: Job) -> Launch:
        """`stage.yaml` and the command that reads it."""
        config = {
            "kind": job.kind,
            "name": job.name,
            "recipe_folder": str(job.recipe_folder),
            "threads": job.threads,
            **{key: job.config[key] for key in spec.KEYS if job.config.get(key)},
        }
        asked = spec.query(job.config)
        notes = []
        if asked is not None and asked.standin is not None:
            notes.append("PubMed is not asked: the records under `pubmed.standin` stand in for it")
        elif asked is not None and not asked.email:
            notes.append("no `pubmed.email`: NCBI wants one, to write to before it blocks an address")
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        paths = dict.fromkeys([str(job.project), str(PROJECT)])
        return Launch(
            argv=(sys.executable, "-m", MAIN, CONFIG),
            files={CONFIG: text},
            env={"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
            notes=tuple(notes),
        )

    def resume(self, job: Job) -> str | None:
        """What was found, fetched and read stays."""
        read = len(list((job.folder / "spools").glob("*/done.json")))
        if read:
            return f"{read} files read"
        if (job.folder / "search" / "searches.jsonl").exists():
            return "the search and what was fetched"
        return None

    def progress(self, job: Job) -> Progress:
        """What the command wrote down last."""
        found = _read(job.folder / "progress.json")
        return Progress(
            step=found.get("step"),
            total=found.get("total"),
            unit="record",
            message=str(found.get("message") or ""),
        )

    def verify(self, job: Job) -> Verified:
        """The corpus is whole, in order, and what its manifest says."""
        from residency.engines.corpus.verify import verify

        return verify(job.outputs, job.config)

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The error that the command wrote down, or the last one in its log."""
        found = _read(job.folder / "error.json")
        if found.get("message"):
            return str(found["message"]), found.get("hint")
        return last_error(log_tail) or last_line(log_tail) or "it printed nothing", None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (json.JSONDecodeError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


ENGINE = CorpusEngine()
"""The one instance."""
