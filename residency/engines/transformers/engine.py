"""The transformers engine: checkpoints copied, converted, or with an adapter merged in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines import hf_folder
from residency.engines.base import Job, Launch, Verified
from residency.engines.own import OwnCommand, compute_env
from residency.errors import StageFailed
from residency.files import read_json

REPORT = "report.json"


class Transformers(OwnCommand):
    """Runs `residency.engines.transformers.export` in the stage's folder."""

    name: ClassVar[str] = "transformers"
    distribution: ClassVar[str] = "transformers"
    main: ClassVar[str] = "residency.engines.transformers.export"
    less_memory: ClassVar[str | None] = "set dtype: bfloat16, or use a machine with more memory"

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
        env = {**compute_env(job), "CUDA_VISIBLE_DEVICES": ""}
        if "source" in stage or Path(stage.get("model", "")).is_absolute():
            env["HF_HUB_OFFLINE"] = "1"
        return self.launch(stage, env)

    def resume(self, job: Job) -> str | None:
        """An export starts from nothing; what an interrupted one left is removed."""
        shutil.rmtree(job.outputs / ".model.part", ignore_errors=True)
        shutil.rmtree(job.folder / "converted", ignore_errors=True)
        if not (job.outputs / "model").is_dir():
            (job.folder / REPORT).unlink(missing_ok=True)
        return None

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


def resolve(value: str, recipe_folder: Path, project: Path) -> str:
    """The absolute path of an existing folder, or the value: a hub name, or a path still to be made."""
    for start in (recipe_folder, project, Path.cwd()):
        path = start / Path(value).expanduser()
        if path.exists():
            return str(path.absolute())
    return value


ENGINE = Transformers()
