"""The transformers engine: checkpoints copied, converted, or with an adapter merged in."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency.engines import hf_folder, log
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.errors import StageFailed
from residency.files import read_json
from residency.paths import PROJECT

REPORT = "report.json"


class Transformers(Engine):
    """Runs `residency.engines.transformers.export` in the stage's folder."""

    name: ClassVar[str] = "transformers"
    distribution: ClassVar[str] = "transformers"
    exits_as_launcher: ClassVar[bool] = True

    def prepare(self, job: Job) -> Launch:
        """stage.yaml, and the command that reads it."""
        config = job.config
        stage: dict[str, Any] = {
            "name": config.get("name") or job.name,
            "dtype": config.get("dtype") or "auto",
            "base": str(job.recipe_folder),
        }
        for key in ("model", "adapter"):
            if config.get(key):
                stage[key] = resolve(str(config[key]), job.recipe_folder, job.project)
        if config.get("source"):
            stage["source"] = dict(config["source"])
        stage["recipe"] = dict(config)
        given = os.environ.get("PYTHONPATH")
        env = {
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
            "OMP_NUM_THREADS": str(job.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONUNBUFFERED": "1",
        }
        if "source" in stage or Path(stage.get("model", "")).is_absolute():
            env["HF_HUB_OFFLINE"] = "1"
        text = yaml.safe_dump(stage, sort_keys=False, allow_unicode=True)
        argv = (sys.executable, "-m", "residency.engines.transformers.export", "stage.yaml")
        return Launch(argv=argv, files={"stage.yaml": text}, env=env)

    def resume(self, job: Job) -> str | None:
        """An export starts from nothing; what an interrupted one left is removed."""
        shutil.rmtree(job.outputs / ".model.part", ignore_errors=True)
        shutil.rmtree(job.folder / "converted", ignore_errors=True)
        if not (job.outputs / "model").is_dir():
            (job.folder / REPORT).unlink(missing_ok=True)
        return None

    def progress(self, job: Job) -> Progress:
        """What it said last."""
        return Progress(message=log.last_line(log.tail(job.folder / "log.txt", 4096))[:100] or "starting")

    def verify(self, job: Job) -> Verified:
        """See that the checkpoint is whole.

        Raises:
            StageFailed: a file is missing or cut off.
        """
        folder = job.outputs / "model"
        report = read_json(job.folder / REPORT)
        if not folder.is_dir() or not isinstance(report, Mapping):
            raise StageFailed("the export ended without a checkpoint", "look into log.txt")
        tensors = hf_folder.check_model(folder)
        for name in ("README.md", "tokenizer_config.json"):
            if not (folder / name).is_file():
                raise StageFailed(f"{folder / name} is missing")
        size = sum(tensor.size for tensor in tensors.values())
        metrics = {"parameters": size, "dtype": report.get("dtype"), "did": report.get("did")}
        return Verified({"model": folder}, metrics, tuple(report.get("warnings") or ()))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The error that the command printed, or the last one of a traceback."""
        said = re.findall(r"^error: (.+)$", log_tail, re.MULTILINE)
        if said:
            hints = re.findall(r"^hint: (.+)$", log_tail, re.MULTILINE)
            return said[-1], hints[-1] if hints else None
        missing = re.search(r"No module named '([\w.]+)'", log_tail)
        if missing:
            return f"the Python package {missing[1]} is not installed", "make install"
        if "MemoryError" in log_tail or "can't allocate memory" in log_tail:
            return "the machine ran out of memory", "set dtype: bfloat16, or use a machine with more memory"
        return log.last_error(log_tail) or log.last_line(log_tail) or "it printed nothing", None


def resolve(value: str, recipe_folder: Path, project: Path) -> str:
    """The absolute path of an existing folder, or the value: a hub name, or a path still to be made."""
    for start in (recipe_folder, project, Path.cwd()):
        path = start / Path(value).expanduser()
        if path.exists():
            return str(path.absolute())
    return value


ENGINE = Transformers()
