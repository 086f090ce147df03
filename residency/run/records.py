"""What a run's record says of its stages and services."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from residency.plan.model import Plan, PlannedStage
from residency.run.rundir import ServiceRecord, StageRecord
from residency.run.servicerun import ServiceRun


def of_stage(stage: PlannedStage, runs: Path) -> StageRecord:
    """A stage that is still to begin."""
    return StageRecord(
        name=stage.name,
        kind=stage.kind,
        engine=stage.engine.name,
        key=stage.key,
        folder=os.path.relpath(stage.folder, runs),
        needs=list(stage.needs),
        reason=stage.reason,
    )


def of_services(runs: Iterable[ServiceRun], plan: Plan) -> list[ServiceRecord]:
    """The services as they are now."""
    return [
        ServiceRecord(
            name=run.name,
            engine=run.service.engine.name if run.service.engine else None,
            url=run.url,
            status=run.status,
            restarts=run.restarts,
            folder=str(run.service.job.folder),
            used_by=[stage.name for stage in plan.stages if run.name in stage.services],
            error=run.error.message if run.error else None,
        )
        for run in runs
    ]
