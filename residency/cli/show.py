"""`launch.py show RUN`: one run, its stages, what they left, and how to repeat it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.cli.columns import columns, local
from residency.cli.options import RUN_HELP
from residency.errors import EXIT_DONE

if TYPE_CHECKING:
    from residency.run.history import PastRun
    from residency.run.rundir import StageRecord


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "show",
        help="show one run",
        epilog="example: python launch.py show quickstart",
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print the run."""
    from residency.paths import runs_dir
    from residency.run import history, rundir

    past = history.load(rundir.find(runs_dir(), args.run))
    if args.format == "json":
        print(json.dumps(_json(past), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_text(past)))
    return EXIT_DONE


def _json(past: PastRun) -> dict[str, Any]:
    from residency.run.state import jsonable

    stages = []
    for stage in past.record.stages:
        known = past.state(stage)
        stages.append({**asdict(stage), "state": None if known is None else asdict(known)})
    found: dict[str, Any] = jsonable({**asdict(past.record), "folder": str(past.folder), "stages": stages})
    return found


def _text(past: PastRun) -> Iterator[str]:
    from residency.report.wording import duration

    record = past.record
    took = f" in {duration(record.seconds)}" if record.ended else ""
    yield f"{record.name} {record.id}: {record.status}{took}, started {local(record.started)}"
    facts = [("recipe", record.recipe), ("folder", str(past.folder))]
    facts += [("profiles", ", ".join(record.profiles)), ("set", ", ".join(record.set))]
    page = past.folder / "report.html"
    facts += [("report", str(page) if page.is_file() else "")]
    yield columns([fact for fact in facts if fact[1]], indent="  ")
    for warning in record.warnings:
        yield f"  warning: {warning}"
    yield ""
    rows = [("stage", "kind", "engine", "status", "took", "why")]
    for stage in record.stages:
        status = "reused" if stage.reused else stage.status
        took = duration(stage.seconds) if stage.seconds else ""
        rows.append((stage.name, stage.kind, stage.engine, status, took, stage.reason))
    if record.stages:
        yield columns(rows, right=(4,))
    yield from _services(past)
    for stage in record.stages:
        yield from _stage(past, stage)
    if record.error:
        yield f"\nerror: {record.error.get('message')}"
        if record.error.get("hint"):
            yield f"  help: {record.error['hint']}"
    if record.command:
        yield f"\nrepeat it: {_repeat(record.command)}"
        if record.stages:
            yield f"one stage: cd {past.folder / 'stages'}/NAME && sh command.txt"


def _services(past: PastRun) -> Iterator[str]:
    """The services of the run, with the logs of those that it started."""
    from residency.run.stagefiles import LOG

    found = past.record.services
    if not found:
        return
    rows = [("service", "engine", "status", "restarts", "for", "address or log")]
    for service in found:
        log = past.folder / service.folder / LOG
        where = str(log) if service.engine and log.is_file() else service.url or ""
        restarts = str(service.restarts) if service.restarts else ""
        engine = service.engine or "runs already"
        rows.append((service.name, engine, service.status, restarts, ", ".join(service.used_by), where))
    if past.record.stages:
        yield ""
    yield columns(rows, right=(3,))
    for service in found:
        if service.error:
            yield f"  {service.name}: {service.error}"


def _repeat(command: list[str]) -> str:
    python = [] if Path(command[0]).suffix != ".py" else ["python"]
    return shlex.join([*python, *command])


def _stage(past: PastRun, stage: StageRecord) -> Iterator[str]:
    """What a stage left; nothing of one that never began."""
    from residency.report.wording import plain_value
    from residency.run.stagefiles import LOG

    known = past.state(stage)
    if known is None:
        return
    folder = past.stage_folder(stage)
    yield f"\n{stage.name}"
    facts = [(name, str(folder / path)) for name, path in known.outputs.items()]
    facts += [(name, plain_value(value)) for name, value in known.metrics.items() if value is not None]
    if known.attempts > 1:
        went_on = f", the last from {known.resumed_from}" if known.resumed_from else ""
        facts.append(("attempts", f"{known.attempts}{went_on}"))
    facts += [("warning", text) for text in known.warnings]
    if stage.saw and (step := stage.saw.get("step")) is not None and known.status != "done":
        total = stage.saw.get("total")
        facts.append(("got to", f"step {step:,}" + (f" of {total:,}" if total else "")))
    if since := past.since(stage):
        facts.append(("since", since))
    elif known.status == "done" and stage.status != "done":
        facts.append(("since", "done, as its folder says; the run was cut off before it could note so"))
    if known.error:
        facts.append(("error", str(known.error.get("message"))))
    facts.append(("log", str(folder / LOG)))
    yield columns(facts, indent="  ")
