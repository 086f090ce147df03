"""Carries out a plan: each stage in its turn, reused if finished before, gone on with if begun before."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.errors import EXIT_DONE, Interrupted, ResidencyError
from residency.plan.model import Plan, PlannedStage
from residency.run import dryrun, environment, executors, lock, procs, records, rundir, stagefiles, state
from residency.run.executors.base import Executor
from residency.run.failures import from_os
from residency.run.redact import Redactor
from residency.run.rundir import RunRecord
from residency.run.services import Services, check_services
from residency.run.signals import Signals
from residency.run.stagerun import Context, StageRun
from residency.run.state import Unreadable
from residency.run.view import View

WAIT_SECONDS = 0.1
"""Longest sleep between two looks at what is running."""
RECORD_SECONDS = 5.0
"""How often run.json takes down how far the stages are, lest SIGKILL lose it."""
_OVER = ("done", "skipped")


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended. The view has been told all of it."""

    run_dir: Path
    status: str
    """done, failed, interrupted or dry-run."""
    seconds: float
    error: ResidencyError | None = None

    @property
    def exit_code(self) -> int:
        """0, or that of the error."""
        return self.error.exit_code if self.error else EXIT_DONE


def execute(
    plan: Plan,
    *,
    runs: Path,
    view: View,
    command: Sequence[str],
    dry_run: bool = False,
    executor: Executor | None = None,
    parallel: int = 1,
) -> RunResult:
    """Run a plan, or with `dry_run` write the files and commands that it would use.

    Args:
        plan: What to run.
        runs: The runs folder.
        view: Told of everything.
        command: The command line, for the record.
        dry_run: Start nothing.
        executor: Where the stages run; this machine when it is not given.
        parallel: How many stages may run at a time.

    Raises:
        Missing: Before anything is written: an engine, a secret, a GPU, or a service that runs already.
        RecipeInvalid: Before anything is written: a secret's value stands in the recipe.

    A failure of a stage and an interruption are not raised: they are told to the view, recorded,
    and stand in the result's `error`.
    """
    environ = dict(os.environ)
    executor = executor or executors.get("local")
    declared = [source for one in (*plan.stages, *plan.services) for source in environment.secrets_of(one)]
    redactor = Redactor.of(environ, declared)
    for stage in plan.ahead:
        environment.check_no_secret(stage, environ, stagefiles.stage_text(stage))
    for service in plan.to_serve:
        environment.check_no_secret(service, environ, stagefiles.stage_text(service), "service")
    if not dry_run:
        environment.check_engines([*plan.ahead, *plan.to_serve])
        environment.check_secrets(plan, environ)
        check_services(plan, executor)
    try:
        run_dir = rundir.create(runs, plan.recipe.name, dry_run=dry_run)
        context = Context(executor, view, redactor, environ, rundir.identity(run_dir))
        run = _Run(plan, runs, run_dir, view, context, command, parallel)
        return run.write_only() if dry_run else run.go()
    except OSError as error:
        raise from_os(error, f"the run of {plan.recipe.name} cannot be recorded") from error


class _Run:
    """One run, from its record's first line to its last."""

    def __init__(
        self,
        plan: Plan,
        runs: Path,
        run_dir: Path,
        view: View,
        context: Context,
        command: Sequence[str],
        parallel: int,
    ) -> None:
        self.plan = plan
        self.runs = runs
        self.run_dir = run_dir
        self.view = view
        self.context = context
        self.parallel = max(1, parallel)
        self.active: dict[str, StageRun] = {}
        self.services = Services(plan.services, run_dir, context)
        self.error: ResidencyError | None = None
        self.stopping = False
        self.began = self.recorded = time.monotonic()
        redact = context.redactor
        pid = os.getpid()
        self.record = RunRecord(
            id=run_dir.name,
            name=plan.recipe.name,
            kind=plan.recipe.kind,
            recipe=str(plan.recipe.path),
            command=redact.tree(list(command)),
            profiles=list(plan.profiles),
            set=redact.tree(list(plan.overrides)),
            started=state.now(),
            warnings=redact.tree(list(plan.warnings)),
            stages=[records.of_stage(stage, runs) for stage in plan.stages],
            pid=pid,
            pid_started=procs.started(pid),
        )
        self.records = {record.name: record for record in self.record.stages}
        self.about: Mapping[str, Any] = lock.surroundings(plan.stages[0].job.project) if plan.stages else {}

    # ---- dry run

    def write_only(self) -> RunResult:
        """Write what would be used; start nothing."""
        self.view.begin(self.plan, self.run_dir)
        dryrun.write(self.plan, self.run_dir, self.view, self.context.environ)
        return self._end("dry-run")

    # ---- run

    def go(self) -> RunResult:
        """Run all stages, whatever happens leaving a record."""
        self.record.save(self.run_dir)
        self._write_lock()
        rundir.mark_latest(self.run_dir)
        with Signals(self._first_signal, self._later_signal):
            try:
                self.view.begin(self.plan, self.run_dir)
                for warning in self.plan.warnings:
                    self.view.message(warning, "warning")
                self._settle_planned()
                self._loop()
            except KeyboardInterrupt:
                self._abandon("interrupted", None)
                self.stopping = True
            except ResidencyError as error:
                self._abandon("failed", error)
                self.error = error
            except OSError as error:
                self.error = from_os(error, f"the run in {self.run_dir} cannot go on")
                self._abandon("failed", self.error)
            except BaseException as error:
                self._abandon("failed", ResidencyError(f"{type(error).__name__}: {error}"))
                self._close_services()
                self._end("failed")
                raise
            self._close_services()
            status = "failed" if self.error else "done"
            if self.error is None and self.stopping and not self._finished():
                status = "interrupted"
                again = "the same command goes on from here"
                self.error = Interrupted("interrupted; what was done is kept", again)
            return self._end(status)

    def _finished(self) -> bool:
        return all(record.status in _OVER for record in self.record.stages)

    def _settle_planned(self) -> None:
        """Note what is reused or left out; the rest waits."""
        for stage in self.plan.stages:
            if stage.action == "reuse":
                self._reused(stage)
            elif stage.action == "skip":
                self.records[stage.name].status = "skipped"
                self.view.stage(stage.name, "skipped", stage.reason)
            else:
                self.view.stage(stage.name, "waiting", stage.reason)
        self.record.save(self.run_dir)

    def _reused(self, stage: PlannedStage) -> None:
        record = self.records[stage.name]
        record.status, record.reused = "done", True
        with suppress(Unreadable):
            found = state.load(stage.folder)
            record.seconds = found.seconds if found else 0.0
        rundir.link_stage(self.run_dir, stage.name, stage.folder)
        self.view.stage(stage.name, "reused", stage.reason)
        try:
            said = stage.engine.reused(stage.job)
        except Exception as error:  # the stage itself is done
            said = (f"{type(error).__name__}: {error}",)
        for warning in said:
            self.view.message(f"stage {stage.name}: {warning}", "warning")

    def _loop(self) -> None:
        while True:
            self.services.keep(self._services_wanted())
            going = not self.stopping and self.error is None
            if going:
                self._start_ready()
            if not self.active and not (going and self.error is None and self.services.pending):
                return
            self._wait()
            self._look_after_services()
            self._record_progress()
            for name, run in list(self.active.items()):
                ended = run.poll()
                if ended is not None:
                    self._ended(name, run, ended)

    def _services_wanted(self) -> list[str]:
        """The services of the stages that run, or will."""
        begun = self.stopping or self.error is not None
        return [
            name
            for stage in self.plan.stages
            for name in stage.services
            if stage.name in self.active or (self.records[stage.name].status == "waiting" and not begun)
        ]

    def _look_after_services(self) -> None:
        """Note how they are; a stage cannot go on without those that it uses."""
        self.services.poll()
        for run in self.active.values():
            if error := self.services.error(run.stage.services):
                run.doom(error)

    def _close_services(self) -> None:
        self.services.close()
        self.record.services = records.of_services(self.services.runs.values(), self.plan)

    def _record_progress(self) -> None:
        if time.monotonic() - self.recorded >= RECORD_SECONDS:
            self.record.services = records.of_services(self.services.runs.values(), self.plan)
            self.recorded = time.monotonic()
            for name, run in self.active.items():
                self._take_down(name, run)
            self.record.save(self.run_dir)

    def _take_down(self, name: str, run: StageRun) -> None:
        """What the run's record says of a stage that it has begun."""
        record = self.records[name]
        record.seconds, record.saw = round(run.seconds, 3), run.seen()

    def _start_ready(self) -> None:
        for stage in self.plan.stages:
            if len(self.active) >= self.parallel:
                return
            if self.records[stage.name].status != "waiting":
                continue
            if any(self.records[need].status not in _OVER for need in stage.needs if need in self.records):
                continue
            if error := self.services.error(stage.services):
                self._cannot_start(stage, error)
                return
            if not self.services.ready(stage.services):
                continue
            devices = self.context.executor.reserve(stage)
            if devices is None:
                continue
            self.services.hand_over(stage)
            self._start(stage, devices)

    def _cannot_start(self, stage: PlannedStage, error: ResidencyError) -> None:
        """A service that the stage needs has failed."""
        self.error = type(error)(f"stage {stage.name}: {error.message}", error.hint)
        self.records[stage.name].status = "failed"
        self.record.save(self.run_dir)
        self.view.stage(stage.name, "failed", error.hint or "")

    def _start(self, stage: PlannedStage, devices: Mapping[str, str]) -> None:
        run = StageRun(stage, devices, self.context)
        record = self.records[stage.name]
        record.status = "running"
        # Known before it starts: a signal may come at any moment.
        self.active[stage.name] = run
        self.view.stage(stage.name, "running", stage.reason)
        for note in stage.launch.notes:
            self.view.message(f"stage {stage.name}: {note}")
        ended = run.start()
        rundir.link_stage(self.run_dir, stage.name, stage.folder)
        if ended == "reused":
            self._release(stage)
            stage.reason = "finished in the meantime"
            self._reused(stage)
        elif ended is not None:
            self._ended(stage.name, run, ended)
            return
        elif run.state is not None and run.state.resumed_from:
            self.view.message(f"stage {stage.name} goes on from {run.state.resumed_from}")
        if ended is None:
            self._take_down(stage.name, run)
        self.record.save(self.run_dir)

    def _ended(self, name: str, run: StageRun, ended: str) -> None:
        stage = run.stage
        self._release(stage)
        self.records[name].status = ended
        self._take_down(name, run)
        if run.error is not None and self.error is None:
            self.error = run.error
        self.record.save(self.run_dir)
        self._write_lock()  # with what the stage recorded of its sources
        note = "" if ended == "done" else f"its log: {stage.folder / stagefiles.LOG}"
        self.view.stage(name, ended, note)
        for warning in run.state.warnings if run.state and ended == "done" else ():
            if not run.told(warning):
                self.view.message(f"stage {name}: {warning}", "warning")

    def _release(self, stage: PlannedStage) -> None:
        self.active.pop(stage.name, None)
        self.context.executor.release(stage)

    def _wait(self) -> None:
        """Until there is news of a command, or it is time for a look."""
        watched = [number for run in self.active.values() if (number := run.fileno()) is not None]
        watched += self.services.filenos()
        if watched:
            select.select(watched, [], [], WAIT_SECONDS)
        else:
            time.sleep(WAIT_SECONDS)

    # ---- signals

    def _first_signal(self) -> None:
        self.stopping = True
        if not any(run.fileno() is not None for run in self.active.values()):
            # Nothing is running that could be asked to stop: we are at some work of our own.
            raise KeyboardInterrupt
        self.view.message("stopping; once more to stop at once", "warning")
        for run in self.active.values():
            run.stop()

    def _later_signal(self) -> None:
        self.stopping = True
        for run in self.active.values():
            run.kill()
        self.services.kill()
        if not any(run.fileno() is not None for run in self.active.values()):
            raise KeyboardInterrupt

    # ---- end

    def _abandon(self, status: str, error: ResidencyError | None) -> None:
        """End all that runs, after a fault of ours or an impatient user."""
        for name, run in list(self.active.items()):
            run.abandon("interrupted" if status == "interrupted" else "failed", error)
            self.records[name].status = status
            self._take_down(name, run)
            self.view.stage(name, status)
            self._release(run.stage)

    def _write_lock(self) -> None:
        lock.write(self.run_dir, self.plan, self.record, self.context.redactor, self.about)

    def _end(self, status: str) -> RunResult:
        self.record.status = status
        self.record.ended = state.now()
        self.record.seconds = seconds = round(time.monotonic() - self.began, 3)
        if self.error is not None:
            self.record.error = {"message": self.error.message, "hint": self.error.hint}
        try:
            self.record.save(self.run_dir)
            self._write_lock()
        except OSError as error:
            # A full disk is told once, as the cause of the failure where it is that.
            if self.error is None:
                self.error, status = from_os(error, "the run's record cannot be written"), "failed"
        if self.error is not None and not isinstance(self.error, Interrupted):
            below = "".join(f"\n  {line}" for line in (self.error.hint or "").splitlines())
            self.view.message(self.error.message + below, "error")
        elif self.error is not None:
            self.view.message(f"{self.error.message}: {self.error.hint}", "warning")
        self.view.end(status, seconds)
        return RunResult(self.run_dir, status, seconds, self.error)
