"""`launch.py serve`: one server in the foreground, until it is stopped."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from residency.engines.serving import Server
from residency.errors import EXIT_DONE, ResidencyError
from residency.plan.model import Plan, PlannedService
from residency.plan.services import FOLDER
from residency.recipe.services import used_directly
from residency.run import environment, executors, lock, procs, records, rundir, stagefiles, state
from residency.run.logs import Follower
from residency.run.redact import Redactor
from residency.run.rundir import RunRecord
from residency.run.servicerun import ServiceRun
from residency.run.services import Services
from residency.run.signals import Signals
from residency.run.stagerun import Context
from residency.run.view import View

WAIT_SECONDS = 0.2


def of_plan(plan: Plan) -> PlannedService:
    """The server that a plan of a recipe of kind `serve` has as its only stage."""
    (stage,) = plan.stages
    assert isinstance(stage.engine, Server)
    name = rundir.folder_name(plan.recipe.name)
    return PlannedService(
        name=name,
        recipe=stage.recipe,
        engine=stage.engine,
        job=replace(stage.job, name=name, folder=Path(FOLDER, name)),
        launch=stage.launch,
        uses=tuple(used_directly(stage.recipe)),
        needs=(),
        parts=stage.parts,
        secrets=stage.secrets,
    )


def serve(
    plan: Plan, *, runs: Path, view: View, command: Sequence[str], say: Callable[[str], None] = print
) -> int:
    """Start the server, say where it is, pass its log on, and stop it at Ctrl-C.

    Args:
        plan: Of a recipe of kind `serve`.
        runs: The runs folder; the server gets a run of its own there, with its log.
        view: Told how it is.
        command: The command line, for the record.
        say: Prints a line of its log, its address, and how to ask it.

    Returns:
        The exit code: 0 after Ctrl-C, another when it could not start or died too often.

    Raises:
        Missing: An engine, a secret or a GPU is not there.
    """
    environ = dict(os.environ)
    own = of_plan(plan)
    services = [*plan.services, own]
    redactor = Redactor.of(environ, [source for one in services for source in environment.secrets_of(one)])
    for service in services:
        environment.check_no_secret(service, environ, stagefiles.stage_text(service), "service")
    executor = executors.get("local")
    environment.check_engines(services)
    environment.check_secrets(plan, environ)
    executor.check(services)
    run_dir = rundir.create(runs, plan.recipe.name)
    context = Context(executor, view, redactor, environ, rundir.identity(run_dir))
    held = Services(services, run_dir, context, by_hand=own.name)
    pid = os.getpid()
    record = RunRecord(
        id=run_dir.name,
        name=plan.recipe.name,
        kind=plan.recipe.kind,
        recipe=str(plan.recipe.path),
        command=redactor.tree(list(command)),
        profiles=list(plan.profiles),
        set=redactor.tree(list(plan.overrides)),
        started=state.now(),
        pid=pid,
        pid_started=procs.started(pid),
    )
    record.services = records.of_services(held.runs.values(), plan)
    record.save(run_dir)
    lock.write(run_dir, plan, record, redactor, lock.surroundings(own.job.project))
    rundir.mark_latest(run_dir)
    began = time.monotonic()
    error = _until_stopped(held, own, record, run_dir, plan, say)
    record.status = "failed" if error else "done"
    record.ended, record.seconds = state.now(), round(time.monotonic() - began, 3)
    record.services = records.of_services(held.runs.values(), plan)
    if error is not None:
        record.error = {"message": error.message, "hint": error.hint}
        view.message(error.message + (f"\n  {error.hint}" if error.hint else ""), "error")
    record.save(run_dir)
    return error.exit_code if error else EXIT_DONE


def _until_stopped(
    held: Services,
    own: PlannedService,
    record: RunRecord,
    run_dir: Path,
    plan: Plan,
    say: Callable[[str], None],
) -> ResidencyError | None:
    """Keep it running; returns why it cannot be kept, or None when it was asked to stop."""
    names = [*own.uses, own.name]
    run = held.runs[own.name]
    asked: list[bool] = []
    told = False
    follower: Follower | None = None
    with Signals(lambda: asked.append(True), held.kill):
        while not asked and (error := held.error(names)) is None:
            held.ready(names)
            held.poll()
            if follower is None and run.log.is_file():
                follower = Follower(run.log)
            _pass_on(follower, say)
            if run.ready and not told:
                told = True
                say(_welcome(run))
                record.services = records.of_services(held.runs.values(), plan)
                record.save(run_dir)
            watched = held.filenos()
            if watched:
                select.select(watched, [], [], WAIT_SECONDS)
            else:
                time.sleep(WAIT_SECONDS)
        held.close()
        _pass_on(follower, say)
    return None if asked else error


def _pass_on(follower: Follower | None, say: Callable[[str], None]) -> None:
    for line in follower.lines() if follower else ():
        if line and not line.startswith("=== "):
            say(line)


def _welcome(run: ServiceRun) -> str:
    engine = run.service.engine
    assert engine is not None
    assert run.url is not None
    return (
        f"ready at {run.url}; Ctrl-C stops it. For example:\n\n  {engine.example(run.url, run.service.job)}\n"
    )
