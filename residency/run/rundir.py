"""Run folders: `runs/<recipe name>/<YYYYMMDD-HHMMSS-xxxx>/`, and `run.json` in each."""

from __future__ import annotations

import difflib
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from residency import files
from residency.errors import RecipeInvalid
from residency.run import procs, state
from residency.run.state import jsonable

FILE = "run.json"
LATEST = "latest"
STORE = "store"


@dataclass(slots=True)
class StageRecord:
    """One stage as a run saw it."""

    name: str
    kind: str
    engine: str
    key: str
    folder: str
    """Relative to the runs folder."""
    needs: list[str] = field(default_factory=list)
    status: str = "waiting"
    """waiting, running, done, failed, interrupted or skipped."""
    reused: bool = False
    reason: str = ""
    seconds: float = 0.0
    """Wall time in this run; of a reused stage, the time that it took when it was done."""
    saw: dict[str, Any] | None = None
    """Its state when this run looked last (`residency.run.seen`); another may go on with it."""


@dataclass(slots=True)
class ServiceRecord:
    """One service as a run saw it."""

    name: str
    engine: str | None = None
    """None for one that ran already."""
    url: str | None = None
    status: str = "waiting"
    """waiting (never needed), starting, ready, restarting, stopped or failed."""
    restarts: int = 0
    folder: str = ""
    """Relative to the run's folder; its log stands there."""
    used_by: list[str] = field(default_factory=list)
    """Stages."""
    error: str | None = None


@dataclass(slots=True)
class RunRecord:
    """run.json."""

    id: str
    name: str
    kind: str
    recipe: str
    command: list[str] = field(default_factory=list)
    profiles: list[str] = field(default_factory=list)
    set: list[str] = field(default_factory=list)
    status: str = "running"
    """running, done, failed, interrupted or dry-run."""
    started: str = ""
    ended: str | None = None
    seconds: float = 0.0
    stages: list[StageRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: dict[str, str | None] | None = None
    pid: int | None = None
    services: list[ServiceRecord] = field(default_factory=list)
    pid_started: str | None = None
    """Of the launcher: a run whose launcher has gone is not running, whatever its status says."""

    def save(self, folder: Path) -> None:
        """Write run.json, whole or not at all."""
        files.write_json(folder / FILE, jsonable(asdict(self)))


def load(folder: Path) -> RunRecord | None:
    """The record of a run's folder, or None where there is none that can be read.

    A run whose launcher was killed is given as `interrupted`, and so is the stage it was at.
    """
    try:
        raw = files.read_json(folder / FILE)
        stages = [_take(StageRecord, stage) for stage in raw["stages"]]
        services = [_take(ServiceRecord, service) for service in raw.get("services") or ()]
        record: RunRecord = _take(RunRecord, raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    record.stages, record.services = stages, services
    if record.status == "running" and not procs.alive(record.pid, record.pid_started):
        record.status = "interrupted"
        for stage in stages:
            stage.status = "interrupted" if stage.status == "running" else stage.status
        for service in services:
            service.status = service.status if service.status in ("waiting", "failed") else "stopped"
    return record


def _take(kind: Any, raw: dict[str, Any]) -> Any:
    known = {f.name for f in fields(kind)}
    return kind(**{key: value for key, value in raw.items() if key in known})


def identity(run_dir: Path) -> str:
    """What a run is called wherever another is spoken of: `name/id`, which `find` takes."""
    return f"{run_dir.parent.name}/{run_dir.name}"


def folder_name(name: str) -> str:
    """A recipe's or stage's name as a folder's: `my run/α` → `my-run-α`."""
    found = re.sub(r"[^\w.+-]+", "-", name).strip(".-") or "run"
    return f"{found}-run" if found == STORE else found


def new_id(moment: datetime | None = None) -> str:
    """An id of local time and four random hex digits; later ids sort after earlier ones."""
    return f"{(moment or datetime.now()):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


def create(runs: Path, name: str, *, dry_run: bool = False) -> Path:
    """Make the folder of a new run, which nobody else has."""
    parent = runs / folder_name(name)
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / (new_id() + ("-dry-run" if dry_run else ""))
        with suppress(FileExistsError):
            folder.mkdir()
            (folder / "stages").mkdir()
            return folder


def link_stage(run_dir: Path, name: str, folder: Path) -> None:
    """Point `stages/<name>` at a folder of the store, by a path that survives moving the runs folder."""
    _point(run_dir / "stages" / folder_name(name), Path(os.path.relpath(folder, run_dir / "stages")))


def mark_latest(run_dir: Path) -> None:
    """Point the recipe's `latest` at this run."""
    _point(run_dir.parent / LATEST, Path(run_dir.name))


def _point(link: Path, target: Path) -> None:
    part = link.with_name(f".{link.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    os.replace(part, link)


def previous_parts(runs: Path, name: str, stage: str) -> Mapping[str, str] | None:
    """The parts of a stage's fingerprint in the recipe's latest run, or None."""
    try:
        found = state.load(runs / folder_name(name) / LATEST / "stages" / folder_name(stage))
    except state.Unreadable:
        return None
    return found.parts if found else None


def all_runs(runs: Path) -> Iterator[tuple[Path, RunRecord]]:
    """Every run, the newest first."""
    found = []
    for parent in _folders(runs):
        for folder in _folders(parent):
            record = load(folder)
            if record is not None:
                found.append((folder, record))
    yield from sorted(found, key=lambda pair: (pair[1].started, pair[1].id), reverse=True)


def _folders(parent: Path) -> list[Path]:
    try:
        return [
            Path(entry.path)
            for entry in os.scandir(parent)
            if entry.is_dir(follow_symlinks=False) and entry.name != STORE and not entry.name.startswith(".")
        ]
    except OSError:
        return []


def find(runs: Path, text: str) -> Path:
    """The folder of a run by id, start of an id, recipe name (its latest run), `name/id`, `latest`, or path.

    Raises RecipeInvalid, with what was perhaps meant, when there is none or more than one.
    """
    for path in (Path(text).expanduser(), runs / text):
        if (path / FILE).is_file():
            return path.resolve()
    latest = runs / folder_name(text) / LATEST
    if (latest / FILE).is_file():
        return latest.resolve()
    known = list(all_runs(runs))
    if text == LATEST and known:
        return known[0][0]
    of_name = [folder for folder, record in known if text in (record.name, folder.parent.name)]
    if of_name:
        return of_name[0]
    starts = [folder for folder, record in known if record.id.startswith(text)]
    if len(starts) == 1:
        return starts[0]
    if starts:
        listed = ", ".join(folder.name for folder in starts[:8])
        raise RecipeInvalid(f"{text} is the start of {len(starts)} runs", f"give more of it: {listed}")
    if not known:
        raise RecipeInvalid(f"there is no run {text}: {runs} holds none", "python launch.py RECIPE makes one")
    names = list(dict.fromkeys(record.name for _, record in known))
    near = difflib.get_close_matches(text, [*names, *(record.id for _, record in known)], n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"the latest are {', '.join(_some(known))}"
    raise RecipeInvalid(f"there is no run {text}", hint)


def _some(known: list[tuple[Path, RunRecord]]) -> list[str]:
    return [f"{record.name} ({record.id})" for _, record in known[:5]]
