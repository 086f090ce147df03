"""The engine of `generate` stages: one command of ours that asks a server or a model in process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.endpoint import kept
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.engines.lm_eval import places
from residency.engines.log import last_error, last_line
from residency.errors import ResidencyError, StageFailed
from residency.files import read_json
from residency.paths import PROJECT
from residency.rewards import datasets

MAIN, CONFIG = "residency.engines.generate.main", "stage.yaml"
KEYS = (
    "endpoint",
    "prompt",
    "sampling",
    "json",
    "filters",
    "keep",
    "output",
    "format",
    "take",
    "limit",
    "dtype",
    "batch",
)
"""Keys of the recipe that the command reads as they are."""
WARN_OF = ("no prompt", "the prompt", "the file", "an empty")
"""Reasons that tell of faults, not of choices."""
OUTPUTS = ("samples.jsonl", "dataset.jsonl", "rejected.jsonl", "report.json")


class Generate(Engine):
    """Rows in, answers out."""

    name: ClassVar[str] = "generate"
    distribution: ClassVar[str] = "residency"
    exits_as_launcher: ClassVar[bool] = True

    def version(self) -> str | None:
        """The version of the project itself."""
        return __version__

    def prepare(self, job: Job) -> Launch:
        """`stage.yaml` and the command that reads it."""
        starts = places.roots(job.recipe_folder, job.project)
        stage: dict[str, Any] = {"data": [str(path) for path in self.data(job)]}
        for key in ("model", "adapter"):
            if job.config.get(key):
                stage[key] = places.model(str(job.config[key]), starts)
        stage |= {k: job.config[k] for k in KEYS if job.config.get(k) is not None}
        paths = dict.fromkeys([str(job.project), str(PROJECT)])
        env = {
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONUNBUFFERED": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "OMP_NUM_THREADS": str(max(1, job.threads)),
            "OMP_WAIT_POLICY": "PASSIVE",
        }
        if Path(str(stage.get("model") or "/")).is_absolute():
            env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        if job.gpus == 0:
            env["CUDA_VISIBLE_DEVICES"] = ""
        return Launch(
            argv=(sys.executable, "-m", MAIN, CONFIG),
            files={CONFIG: yaml.safe_dump(stage, sort_keys=False, allow_unicode=True, width=100)},
            env=env,
            stall_seconds=3600,
        )

    def data(self, job: Job) -> list[Path]:
        """The data files; those that are not there yet as they are named."""
        try:
            found = datasets.find(job.config, "dataset", job.recipe_folder, job.project, job.datasets)
        except ResidencyError:
            return [Path(name) for name in datasets.names(job.config.get("dataset"))]
        return [source.path for source in found]

    def resume(self, job: Job) -> str | None:
        """Answers that are kept stay; outputs of an attempt that did not come to its end go."""
        for name in OUTPUTS:
            (job.outputs / name).unlink(missing_ok=True)
        (job.folder / "progress.json").unlink(missing_ok=True)
        found = kept.count(job.folder / "answers.jsonl")
        return f"{found} answers" if found else None

    def progress(self, job: Job) -> Progress:
        """Answers so far."""
        found = _read(job.folder / "progress.json")
        return Progress(
            step=found.get("done"),
            total=found.get("total"),
            unit="answer",
            metrics=found.get("metrics") or {},
        )

    def verify(self, job: Job) -> Verified:
        """The files have the rows that the report says."""
        report = _read(job.outputs / "report.json")
        if not report:
            raise StageFailed("the stage left no report.json: it did not come to its end")
        samples, rows = _count(job.outputs / "samples.jsonl"), _count(job.outputs / "dataset.jsonl")
        if rows != report["dataset_rows"] or samples > report["rows"]:
            raise StageFailed(f"dataset.jsonl has {rows} rows, by the report {report['dataset_rows']}")
        metrics = {
            key: report[key]
            for key in (
                "rows",
                "samples",
                "kept",
                "dataset_rows",
                "prompt_tokens",
                "tokens",
                "seconds",
                "tokens_per_second",
            )
            if report.get(key) is not None
        }
        warnings = []
        for reason, n in report["rejected"].items():
            if (
                reason.startswith(("no prompt", "the prompt", "the file", "an empty"))
                or " failed: " in reason
            ):
                warnings.append(f"left out: {n} {reason}")
        if report["cut_at_max_tokens"]:
            cut = f"{report['cut_at_max_tokens']} of {report['samples']}"
            warnings.append(f"{cut} answers were cut at max_tokens")
        return Verified({}, metrics, tuple(warnings))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """What the command wrote down, and how many answers are kept."""
        found = _read(job.folder / "error.json")
        said = str(
            found.get("message") or last_error(log_tail) or last_line(log_tail) or "it printed nothing"
        )
        hint = found.get("hint")
        answered = kept.count(job.folder / "answers.jsonl")
        going_on = f"{answered} answers are kept: the same command asks only for what is left"
        return said, "\n".join(filter(None, (hint, going_on if answered else None))) or None


def _count(path: Path) -> int:
    try:
        with path.open("rb") as stream:
            return sum(1 for _ in stream)
    except FileNotFoundError:
        raise StageFailed(f"the stage left no {path.name}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except (json.JSONDecodeError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


ENGINE = Generate()
