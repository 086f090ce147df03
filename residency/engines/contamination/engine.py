"""The engine of `kind: contamination`: one command of ours that compares sets of rows."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.engines import log
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.engines.contamination import spec
from residency.errors import StageFailed
from residency.files import read_json
from residency.paths import PROJECT

MAIN = "residency.engines.contamination.main"
CONFIG = "stage.yaml"
LEAKS, REPORT = "leaks.jsonl", "report.json"


class Contamination(Engine):
    """Runs `residency.engines.contamination.main` in the stage's folder."""

    name: ClassVar[str] = "contamination"
    distribution: ClassVar[str] = "residency"
    exits_as_launcher: ClassVar[bool] = True

    def version(self) -> str | None:
        """The version of the project itself."""
        return __version__

    def prepare(self, job: Job) -> Launch:
        """stage.yaml, and the command that reads it."""
        stage = {key: job.config[key] for key in KEYS if job.config.get(key)}
        text = yaml.safe_dump({**sets(job), **stage}, sort_keys=False, allow_unicode=True, width=100)
        given = os.environ.get("PYTHONPATH")
        return Launch(
            argv=(sys.executable, "-m", MAIN, CONFIG),
            files={CONFIG: text},
            env={
                "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
                "PYTHONUNBUFFERED": "1",
            },
        )

    def resume(self, job: Job) -> str | None:
        """It begins anew: what an earlier attempt found may be out of date."""
        for path in (job.folder / "progress.json", job.outputs / LEAKS, job.outputs / REPORT):
            path.unlink(missing_ok=True)
        return None

    def progress(self, job: Job) -> Progress:
        """Training rows that have been looked at."""
        try:
            found = read_json(job.folder / "progress.json")
        except (OSError, ValueError):
            found = None
        step = found.get("step") if isinstance(found, Mapping) else None
        return Progress(step=step, unit="row", message="" if step else "reading the evaluation sets")

    def verify(self, job: Job) -> Verified:
        """Raises StageFailed when there is no report, or one of leaks that are not allowed."""
        report = read_json(job.outputs / REPORT)
        if not isinstance(report, Mapping):
            raise StageFailed("the comparison ended without a report", "look into log.txt")
        if report["leaks"] > report["allowed"]:
            raise StageFailed(str(report["said"]))
        warnings = []
        if report["allowed"]:
            warnings.append(f"leak allowed ({report['reason']}): {report['said']}")
        if report["allowed_ids_not_met"]:
            listed = ", ".join(report["allowed_ids_not_met"][:5])
            warnings.append(f"`allow_leak.ids` names what does not leak: {listed}")
        warnings += [f"not compared: {text}" for text in report["not_compared"]]
        metrics = {
            "leaks": report["leaks"],
            "training rows": sum(report["training"].values()),
            "evaluation rows": sum(report["evaluation"].values()),
        }
        outputs = {"report": job.outputs / REPORT, "leaks": job.outputs / LEAKS}
        return Verified(outputs, metrics, tuple(warnings))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The leaks with their first rows, or the error that the command printed."""
        report = read_json(job.outputs / REPORT)
        said = re.findall(r"^error: (.+)$", log_tail, re.MULTILINE)
        hints = re.findall(r"^hint: (.+)$", log_tail, re.MULTILINE)
        if isinstance(report, Mapping) and report["leaks"] > report["allowed"]:
            rows = "".join(f"\n    {text}" for text in report["first"])
            left = report["leaks"] - report["allowed"] - len(report["first"])
            more = f"\n    and {left:,} more" if left > 0 else ""
            hint = f"{hints[-1] if hints else ''}\nall of them: {job.outputs / LEAKS}"
            return f"{report['said']}{rows}{more}", hint
        if said:
            return said[-1], hints[-1] if hints else None
        if "MemoryError" in log_tail:
            return "the machine ran out of memory", "compare fewer or smaller evaluation sets at a time"
        return log.last_error(log_tail) or log.last_line(log_tail) or "it printed nothing", None


KEYS = ("not_compared", "ngram", "ids", "allow_leak")


def sets(job: Job) -> dict[str, Any]:
    """The files of the training sets and of the evaluation sets, by key."""
    return {
        key: spec.files(job.config, key, job.recipe_folder, job.project, job.datasets) for key in spec.SETS
    }


ENGINE = Contamination()
