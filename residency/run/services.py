"""The services of a run: started before the first stage that needs them, stopped after the last."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from residency.engines.base import Job
from residency.errors import ResidencyError, StageFailed
from residency.plan.model import Plan, PlannedService, PlannedStage
from residency.plan.services import filled
from residency.run.executors.base import Executor, Wants
from residency.run.executors.local import grace
from residency.run.health import check_external
from residency.run.servicerun import ServiceRun
from residency.run.stagerun import Context

SLACK = 5.0
"""Seconds beyond the grace that services have to end, before they are killed."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """What an executor sets devices aside for."""

    name: str
    job: Job


def check_services(plan: Plan, executor: Executor) -> None:
    """Raise Missing when a stage and its services can never run, or a service that runs already does not."""
    executor.check([*plan.ahead, *plan.to_serve, *together(plan)])
    check_external(plan.to_serve)


def together(plan: Plan) -> list[Wants]:
    """Each stage that will run, with the GPUs that it and its services want at the same time."""
    gpus = {service.name: service.job.gpus for service in plan.to_serve if service.engine is not None}
    found: list[Wants] = []
    for stage in plan.ahead:
        more = sum(gpus.get(name, 0) for name in stage.services)
        if more:
            job = replace(stage.job, gpus=stage.job.gpus + more)
            found.append(_Slot(f"{stage.name} with its services", job))
    return found


class Services:
    """All services that the stages of a run use."""

    def __init__(
        self,
        services: Iterable[PlannedService],
        run_dir: Path,
        context: Context,
        *,
        by_hand: str | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            services: Each after those that it uses.
            run_dir: The run's folder.
            context: What all of a run shares.
            by_hand: The one that a user started, at the port that its recipe says.
        """
        self._context = context
        self.runs = {
            service.name: ServiceRun(service, run_dir, context, by_hand=service.name == by_hand)
            for service in services
        }
        self._reserved: set[str] = set()

    # ---- for a stage

    def ready(self, names: Iterable[str]) -> bool:
        """Whether all of these are ready; those that can be started are."""
        found = True
        for name in names:
            run = self.runs[name]
            if run.ready:
                continue
            found = False
            if run.status in ("waiting", "stopped") and all(self.runs[n].ready for n in run.service.uses):
                devices = self._reserve(run)
                if devices is not None:
                    run.start(self._urls(run.service.uses), devices)
        return found

    def error(self, names: Iterable[str]) -> ResidencyError | None:
        """Why a stage that uses these cannot go on, or None."""
        for name in names:
            run = self.runs[name]
            if run.status == "failed":
                return run.error or StageFailed(f"the service {name} failed", f"its log: {run.log}")
        return None

    def hand_over(self, stage: PlannedStage) -> None:
        """Put the addresses of its services into a stage's job and command."""
        if stage.services:
            stage.job = filled(stage.job, self._urls(stage.services))
            stage.launch = stage.engine.prepare(stage.job)

    def _urls(self, names: Iterable[str]) -> dict[str, str]:
        return {name: url for name in names if (url := self.runs[name].url) is not None}

    def _reserve(self, run: ServiceRun) -> Mapping[str, str] | None:
        if run.external:
            return {}
        devices = self._context.executor.reserve(_Slot(f"service {run.name}", run.service.job))
        if devices is not None:
            self._reserved.add(run.name)
        return devices

    # ---- in the loop

    @property
    def pending(self) -> bool:
        """Whether one is being started: a stage waits for it."""
        return any(run.status in ("starting", "restarting") for run in self.runs.values())

    def filenos(self) -> list[int]:
        """Files to wait on for news."""
        return [number for run in self.runs.values() if (number := run.fileno()) is not None]

    def poll(self) -> None:
        """Look after all of them."""
        for run in self.runs.values():
            run.poll()
            if run.over and run.name in self._reserved and not run.alive:
                self._reserved.discard(run.name)
                self._context.executor.release(_Slot(f"service {run.name}", run.service.job))

    def keep(self, names: Iterable[str]) -> None:
        """Stop those that are not among `names`, nor used by one of them."""
        wanted = set(names)
        for run in reversed(list(self.runs.values())):
            if run.name in wanted:
                wanted.update(run.service.uses)
            elif not run.over and run.status != "stopping":
                run.stop()

    def kill(self) -> None:
        """End all of them at once."""
        for run in self.runs.values():
            run.kill()

    def close(self) -> None:
        """Stop all that were started, and wait until they have ended."""
        until = time.monotonic() + grace() + SLACK
        try:
            for run in reversed(list(self.runs.values())):
                run.stop()
            self._drain(until)
        except KeyboardInterrupt:
            pass
        self.kill()
        self._drain(time.monotonic() + SLACK)

    def _drain(self, until: float) -> None:
        while any(run.alive for run in self.runs.values()) and time.monotonic() < until:
            self.poll()
            time.sleep(0.02)
        self.poll()
