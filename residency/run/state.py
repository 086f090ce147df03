"""What is known of one stage: `state.json` in its folder, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from residency import files

if TYPE_CHECKING:
    from residency.plan.model import PlannedStage

FILE = "state.json"

Status = Literal["running", "done", "failed", "interrupted"]
STATUSES = ("running", "done", "failed", "interrupted")


class Unreadable(ValueError):
    """A state.json that is there and says nothing."""


@dataclass(slots=True)
class State:
    """One stage, over all its attempts."""

    status: Status
    name: str
    """The stage's name in the run that did it."""
    kind: str
    key: str
    fingerprint: str
    parts: dict[str, str] = field(default_factory=dict)
    """What the fingerprint covers → its hash."""
    engine: str = ""
    engine_version: str | None = None
    started: str = ""
    """Start of the first attempt, ISO 8601, UTC."""
    ended: str | None = None
    seconds: float = 0.0
    """Wall time over all attempts."""
    attempts: int = 0
    run: str = ""
    """The run that made the last attempt, `name/id`."""
    resumed_from: str | None = None
    """What the last attempt went on from: `checkpoint-40`."""
    pid: int | None = None
    """The command's process, which leads a process group of that number."""
    pid_started: str | None = None
    exit: int | None = None
    """Its exit status; -9 when signal 9 ended it."""
    outputs: dict[str, str] = field(default_factory=dict)
    """Output's name → path relative to the folder."""
    files: dict[str, int] = field(default_factory=dict)
    """Every file of the outputs, relative to the folder → its size in bytes."""
    metrics: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    peak_memory: int | None = None
    """Bytes of memory that its largest process held at most, over all attempts that came to their end."""
    gpus: int = 0
    """GPUs that it had."""
    error: dict[str, str | None] | None = None
    """`message` and `hint` of the last failure."""

    def save(self, folder: Path) -> None:
        """Write `folder`/state.json."""
        files.write_json(folder / FILE, jsonable(asdict(self)))


def load(folder: Path) -> State | None:
    """The state of a stage's folder, or None when it has none. Raises Unreadable."""
    try:
        raw = files.read_json(folder / FILE)
    except (ValueError, OSError) as error:
        raise Unreadable(f"{folder / FILE} cannot be read: {error}") from error
    if raw is None:
        return None
    if not isinstance(raw, dict) or raw.get("status") not in STATUSES:
        raise Unreadable(f"{folder / FILE} is not the state of a stage")
    known = {f.name for f in fields(State)}
    try:
        found = State(**{key: value for key, value in raw.items() if key in known})
    except TypeError as error:
        raise Unreadable(f"{folder / FILE} lacks a field: {error}") from error
    wrong = [
        name
        for name, kind in (("parts", dict), ("outputs", dict), ("files", dict), ("metrics", dict))
        if not isinstance(getattr(found, name), kind)
    ]
    if wrong:
        raise Unreadable(f"{folder / FILE}: {', '.join(wrong)} should be a mapping")
    return found


def begin(stage: PlannedStage, previous: State | None, resumed: str | None, run: str) -> State:
    """The state of an attempt that begins.

    Args:
        stage: What is done.
        previous: What an earlier attempt left.
        resumed: What it goes on from, if from anything.
        run: The run that it is a part of.
    """
    return State(
        status="running",
        name=stage.name,
        kind=stage.kind,
        key=stage.key,
        fingerprint=stage.fingerprint,
        parts=dict(stage.parts),
        engine=stage.engine.name,
        engine_version=stage.engine.version(),
        started=previous.started if previous else now(),
        seconds=previous.seconds if previous else 0.0,
        attempts=(previous.attempts if previous else 0) + 1,
        resumed_from=resumed,
        run=run,
        peak_memory=previous.peak_memory if previous else None,
        gpus=stage.job.gpus,
    )


def now() -> str:
    """This moment as ISO 8601 in UTC, to the millisecond: `2026-03-01T12:00:00.000Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(text: str | None) -> datetime | None:
    """The moment that an ISO 8601 text names, or None."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def jsonable(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities become null, paths text, numpy numbers plain."""
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [jsonable(item) for item in value]
    if hasattr(value, "item") and getattr(value, "shape", None) == ():
        return jsonable(value.item())
    return str(value)


def sizes(folder: Path, outputs: Iterable[Path]) -> dict[str, int]:
    """The size of every file of the outputs, by its path relative to `folder` where it lies below."""
    found: dict[str, int] = {}
    for output in outputs:
        below = sorted(p for p in output.rglob("*") if p.is_file()) if output.is_dir() else [output]
        for path in below:
            name = path.relative_to(folder) if path.is_relative_to(folder) else path
            found[name.as_posix()] = path.stat().st_size
    return found


def damage(folder: Path, state: State) -> str | None:
    """What of a finished stage's outputs is gone or no longer what it was; None when all stands."""
    for name, path in state.outputs.items():
        if not (folder / path).exists():
            return f"its output {name} ({path}) is gone"
    for path, size in state.files.items():
        try:
            current = (folder / path).stat().st_size
        except OSError:
            return f"{path} is gone"
        if current != size:
            return f"{path} has changed: {current:,} bytes, was {size:,}"
    return None


def dumps(row: Mapping[str, Any]) -> str:
    """One line of a JSONL file, without its newline."""
    return json.dumps(jsonable(row), ensure_ascii=False)
