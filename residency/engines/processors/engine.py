"""The engine of `data` stages: one command of our own that streams rows to dataset files."""

from __future__ import annotations

from typing import ClassVar

from residency.engines.base import Job, Launch, Verified
from residency.engines.own import OwnCommand, project_env
from residency.engines.processors.spec import datasets
from residency.engines.processors.verify import verify

DONE = "done"
"""A folder with a file for each dataset that is finished."""


class Processors(OwnCommand):
    """Sources through processors to JSONL files."""

    name: ClassVar[str] = "processors"
    main: ClassVar[str] = "residency.engines.processors.main"
    unit: ClassVar[str] = "rows"

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
        return self.launch(config, project_env(job))

    def resume(self, job: Job) -> str | None:
        """Datasets that are finished stay; what was being written is removed."""
        for left in job.outputs.glob(".*.part"):
            left.unlink(missing_ok=True)
        for left in job.folder.glob("spool-*.jsonl"):
            left.unlink(missing_ok=True)
        done = len(list((job.folder / DONE).glob("*.json")))
        return f"{done} of {len(datasets(job.config))} datasets" if done else None

    def verify(self, job: Job) -> Verified:
        """Every file has rows and the hash that the report says, and no group is in two parts."""
        return verify(job.outputs, datasets(job.config))


ENGINE = Processors()
