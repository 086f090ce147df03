"""`--dry-run`: the files and commands that a run would use, and nothing started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from residency.plan.model import Plan
from residency.run import environment, rundir, stagefiles
from residency.run.view import View


def write(plan: Plan, run_dir: Path, view: View, environ: Mapping[str, str]) -> None:
    """Write them into the run's folder, and tell the view of each."""
    for service in plan.to_serve:
        if service.engine is None:
            view.message(f"service {service.name} would be used, which {service.says}")
            continue
        folder = run_dir / service.job.folder
        folder.mkdir(parents=True)
        planned = replace(service, job=replace(service.job, folder=folder))
        planned.launch = service.engine.prepare(planned.job)
        stagefiles.write(folder, planned, environment.added(planned, _devices(planned.job.gpus), environ))
        view.message(f"service {service.name} would run by {folder / stagefiles.COMMAND}")
    for stage in plan.stages:
        if stage.action in ("run", "resume"):
            folder = run_dir / "stages" / rundir.folder_name(stage.name)
            folder.mkdir()
            stagefiles.write(folder, stage, environment.added(stage, _devices(stage.job.gpus), environ))
            view.stage(stage.name, "waiting", stage.reason)
            view.message(f"stage {stage.name} would run by {folder / stagefiles.COMMAND}")
        elif stage.action == "reuse":
            rundir.link_stage(run_dir, stage.name, stage.folder)
            view.stage(stage.name, "reused", stage.reason)
        else:
            view.stage(stage.name, "skipped", stage.reason)


def _devices(gpus: int) -> dict[str, str]:
    return {"CUDA_VISIBLE_DEVICES": ",".join(str(i) for i in range(gpus))}
