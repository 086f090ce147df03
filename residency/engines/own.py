"""An engine whose command is one of our own: what all of these share.

The command is `python -m MODULE stage.yaml` in the stage's folder. It writes `progress.json` where it
counts something, exits with the launcher's codes, and prints `error: ` with why and `hint: ` with what to
do, or leaves both in `error.json`.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.engines import log
from residency.engines.base import Engine, Job, Launch, Progress
from residency.files import read_object
from residency.paths import PROJECT

CONFIG = "stage.yaml"
PROGRESS = "progress.json"
ERROR = "error.json"
_MEMORY = re.compile(r"MemoryError|can't allocate memory|std::bad_alloc")


class OwnCommand(Engine):
    """Runs `main` on `stage.yaml`."""

    distribution: ClassVar[str] = "residency"
    exits_as_launcher: ClassVar[bool] = True
    main: ClassVar[str]
    """The module that is run."""
    unit: ClassVar[str] = "step"
    """What `progress.json` counts."""
    less_memory: ClassVar[str | None] = None
    """What to do when the machine's memory, or the GPU's, does not suffice."""

    def version(self) -> str | None:
        """That of the project, for a command that is the project's alone."""
        return __version__ if self.distribution == "residency" else super().version()

    def launch(
        self,
        stage: Mapping[str, Any],
        env: Mapping[str, str],
        *,
        notes: tuple[str, ...] = (),
    ) -> Launch:
        """`stage.yaml` and the command that reads it."""
        text = yaml.safe_dump(dict(stage), sort_keys=False, allow_unicode=True, width=100)
        argv = (sys.executable, "-m", self.main, CONFIG)
        return Launch(argv=argv, files={CONFIG: text}, env=env, notes=notes)

    def progress(self, job: Job) -> Progress:
        """What the command wrote down last; before that the last line of its log."""
        found = read_object(job.folder / PROGRESS)
        if not found:
            return Progress(message=log.last_line(log.tail(job.folder / "log.txt", 4096))[:100] or "starting")
        return Progress(
            step=found.get("step"),
            total=found.get("total"),
            unit=self.unit,
            message=str(found.get("message") or ""),
        )

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The error that the command told, or the last one of a traceback."""
        found = read_object(job.folder / ERROR)
        if found.get("message"):
            return str(found["message"]), found.get("hint")
        if told := told_in(log_tail):
            return told
        missing = re.search(r"No module named '([\w.]+)'", log_tail)
        if missing:
            return f"the Python package {missing[1]} is not installed", "make install"
        if "OutOfMemoryError" in log_tail:
            return "the GPU ran out of memory", self.less_memory
        if _MEMORY.search(log_tail):
            return "the machine ran out of memory", self.less_memory
        return log.last_error(log_tail) or log.last_line(log_tail) or "it printed nothing", None


def told_in(log_tail: str) -> tuple[str, str | None] | None:
    """The last `error: ` line of a log and the last `hint: ` line; None where no error was told."""
    said = re.findall(r"^error: (.+)$", log_tail, re.MULTILINE)
    hints = re.findall(r"^hint: (.+)$", log_tail, re.MULTILINE)
    return (said[-1], hints[-1] if hints else None) if said else None


def project_env(job: Job) -> dict[str, str]:
    """For a command that calls a recipe's functions: they lie in its project, residency perhaps elsewhere."""
    paths = dict.fromkeys([str(job.project), str(PROJECT)])
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def compute_env(job: Job) -> dict[str, str]:
    """For a command that computes: our code, the stage's threads, and no GPU that it was not given."""
    given = os.environ.get("PYTHONPATH")
    env = {
        "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
        "OMP_NUM_THREADS": str(job.threads),
        # FAISS and torch each bring an OpenMP of their own: threads that wait must not spin.
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if job.gpus == 0:
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env
