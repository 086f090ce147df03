"""The engine of `kind: verifier`: one command of ours around transformers' Trainer.

A stage's folder holds `stage.yaml`, which the command reads, `training/` with the checkpoints,
`log.jsonl` with the figures of each logged step, `report.json` once it is done, and the outputs.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines import hf_folder, log
from residency.engines.base import Job, Launch, Progress, Verified
from residency.engines.llamafactory import checkpoints
from residency.engines.own import OwnCommand, compute_env
from residency.engines.transformers.engine import resolve
from residency.engines.transformers.verifier import rows
from residency.errors import StageFailed
from residency.files import jsonl_rows, read_json, write_text
from residency.rewards import datasets
from residency.verifier import checkpoint, text

TRAINING = "training"
LOG = "log.jsonl"
REPORT = "report.json"
MODEL = "model"
PREDICTIONS = "predictions.jsonl"
SEED = 42
HOLDOUT = 0.1
THRESHOLD = 0.4


class VerifierTraining(OwnCommand):
    """Runs `residency.engines.transformers.verifier.train` in the stage's folder."""

    name: ClassVar[str] = "transformers"
    distribution: ClassVar[str] = "transformers"
    main: ClassVar[str] = "residency.engines.transformers.verifier.train"
    less_memory: ClassVar[str | None] = "lower training.per_device_train_batch_size or max_length"

    def prepare(self, job: Job) -> Launch:
        """stage.yaml, and the command that reads it.

        Raises:
            RecipeInvalid: a dataset is neither registered nor a file.
            Missing: its file is not there.
        """
        config = job.config
        given = config.get("columns") or {}
        stage: dict[str, Any] = {
            "name": config.get("name") or job.name,
            "model": resolve(str(config["model"]), job.recipe_folder, job.project),
            "dataset": _files(job, "dataset"),
            "eval_dataset": _files(job, "eval_dataset"),
            "holdout": config.get("holdout") or HOLDOUT,
            "columns": {role: str(given.get(role) or role) for role in rows.COLUMNS},
            "template": config.get("template") or text.TEMPLATE,
            "max_length": config.get("max_length") or checkpoint.MAX_LENGTH,
            "threshold": THRESHOLD if config.get("threshold") is None else config["threshold"],
            "min_accuracy": config.get("min_accuracy"),
            "seed": SEED if config.get("seed") is None else config["seed"],
            "cpu": job.gpus == 0,
            "threads": job.threads,
            "training": dict(config.get("training") or {}),
        }
        env = compute_env(job)
        if Path(stage["model"]).is_absolute():
            env["HF_HUB_OFFLINE"] = "1"
        return self.launch(stage, env)

    def resume(self, job: Job) -> str | None:
        """Leave the whole checkpoints alone in the training folder, and the log up to the last of them."""
        shutil.rmtree(job.outputs / f".{MODEL}.part", ignore_errors=True)
        (job.folder / REPORT).unlink(missing_ok=True)
        training = job.folder / TRAINING
        last, _ = checkpoints.tidy(training, job.folder / checkpoints.ASIDE)
        if last is None:
            shutil.rmtree(training, ignore_errors=True)
            (job.folder / LOG).unlink(missing_ok=True)
            return None
        kept = [row for row in _rows(job) if row["step"] <= last.step]
        write_text(job.folder / LOG, "".join(json.dumps(row) + "\n" for row in kept))
        return last.path.name

    def finished(self, job: Job) -> bool:
        """True when the verifier was trained, measured and written."""
        try:
            self.verify(job)
        except StageFailed:
            return False
        return True

    def progress(self, job: Job) -> Progress:
        """The last logged step, and what the command said last."""
        latest = jsonl_rows(log.tail(job.folder / LOG, 8192))
        said = log.last_line(log.tail(job.folder / "log.txt", 4096))[:100]
        if not latest:
            return Progress(message=said or "starting")
        row = latest[-1]
        hidden = ("step", "total", "seconds")
        metrics = {k: float(v) for k, v in row.items() if k not in hidden and isinstance(v, int | float)}
        busy = said if row["step"] >= row["total"] else ""
        return Progress(step=row["step"], total=row["total"], message=busy, metrics=metrics)

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        """One row a logged step, over all attempts."""
        return _rows(job)

    def verify(self, job: Job) -> Verified:
        """See that the last step was reached, and that the model is whole and has two classes.

        Raises:
            StageFailed: it does not, or it was measured to be worse than `min_accuracy`.
        """
        folder = job.outputs / MODEL
        report = read_json(job.folder / REPORT)
        if not isinstance(report, Mapping) or not folder.is_dir():
            raise StageFailed("the training ended without a verifier", "look into log.txt")
        if report["steps"] < report["total"]:
            raise StageFailed(
                f"the training ended at step {report['steps']:,} of {report['total']:,}",
                "run the same command to go on; see log.txt",
            )
        hf_folder.check_tokenizer(folder)
        config = hf_folder.read_json(folder / "config.json")
        tensors = hf_folder.read_weights(folder)
        if checkpoint.classes(config) != 2 or not any("." in name for name in tensors):
            raise StageFailed(f"{folder} holds no model of two classes")
        predictions = job.outputs / PREDICTIONS
        if not predictions.is_file():
            raise StageFailed(f"{predictions} is missing")
        figures = {key: value for key, value in report.items() if key not in ("warnings", "total")}
        least = job.config.get("min_accuracy")
        if least is not None and report["accuracy"] < least:
            raise StageFailed(
                f"the verifier is right on {report['accuracy']:.1%} of {report['n']:,} held-out rows, "
                f"and `min_accuracy` asks for {least:.1%}",
                "train it for longer, on more rows, or from a larger model",
            )
        shutil.rmtree(job.folder / checkpoints.ASIDE, ignore_errors=True)
        return Verified(
            {"model": folder, "predictions": predictions}, figures, tuple(report.get("warnings") or ())
        )


def _files(job: Job, key: str) -> list[str]:
    """The data files of a key: registered, by path, or what an earlier stage leaves.

    That last is an absolute path, and not there yet when a stage is planned.
    """
    found: list[str] = []
    for name in datasets.names(job.config.get(key)):
        if Path(name).is_absolute():
            found.append(name)
            continue
        paths = rows.locate({key: name}, key, job.recipe_folder, job.project, job.datasets)
        found += [str(path) for path in paths]
    return found


def _rows(job: Job) -> list[dict[str, Any]]:
    try:
        found = jsonl_rows((job.folder / LOG).read_text(encoding="utf-8"))
    except OSError:
        return []
    merged: dict[int, dict[str, Any]] = {}
    for row in found:
        merged.setdefault(int(row["step"]), {}).update(row)
    return [row for _, row in sorted(merged.items())]


ENGINE = VerifierTraining()
