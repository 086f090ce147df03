"""The engine of `data` stages: one command of our own that streams rows to dataset files."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.engines.log import last_error, last_line
from residency.engines.processors.spec import datasets
from residency.engines.processors.verify import verify
from residency.files import read_json
from residency.paths import PROJECT

MAIN = "residency.engines.processors.main"
CONFIG = "stage.yaml"
PROGRESS = "progress.json"
DONE = "done"
"""A folder with a file for each dataset that is finished."""


class Processors(Engine):
    """Sources through processors to JSONL files."""

    name: ClassVar[str] = "processors"
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
            "project": str(job.project),
            **{key: job.config[key] for key in ("sources", "datasets") if job.config.get(key)},
        }
        if job.datasets:
            config["made_before"] = {path: dict(entry) for path, entry in sorted(job.datasets.items())}
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=100)
        # The recipe's processors lie in the project, residency perhaps elsewhere.
        paths = dict.fromkeys([str(job.project), str(PROJECT)])
        return Launch(
            argv=(sys.executable, "-m", MAIN, CONFIG),
            files={CONFIG: text},
            env={"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"},
        )

    def resume(self, job: Job) -> str | None:
        """Datasets that are finished stay; what was being written is removed."""
        for left in job.outputs.glob(".*.part"):
            left.unlink(missing_ok=True)
        for left in job.folder.glob("spool-*.jsonl"):
            left.unlink(missing_ok=True)
        done = len(list((job.folder / DONE).glob("*.json")))
        return f"{done} of {len(datasets(job.config))} datasets" if done else None

    def progress(self, job: Job) -> Progress:
        """What the command wrote down last."""
        found = _read(job.folder / PROGRESS)
        return Progress(
            step=found.get("step"),
            total=found.get("total"),
            unit="rows",
            message=str(found.get("message") or ""),
        )

    def verify(self, job: Job) -> Verified:
        """Every file has rows and the hash that the report says, and no group is in two parts."""
        return verify(job.outputs, datasets(job.config))

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


ENGINE = Processors()
