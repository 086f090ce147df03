"""verl's checkpoints: which are whole, how many are kept, and a second copy of each.

verl writes `global_step_N/actor`, `global_step_N/critic` and `global_step_N/data.pt`, and last of
all the step's number into `latest_checkpointed_iteration.txt`. What is not named there, nor older
than what is, was cut off while it was written. A checkpoint gets a mark of ours when it is whole:
`residency.json`, with the size of each of its files.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from residency.files import read_json, write_json, write_text

TRACKER = "latest_checkpointed_iteration.txt"
MARK = "residency.json"
_STEP = re.compile(r"global_step_(\d+)")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One checkpoint."""

    step: int
    path: Path


def checkpoints(home: Path) -> list[Checkpoint]:
    """Every folder of a checkpoint below `home`, whole or not, oldest first."""
    if not home.is_dir():
        return []
    found = [(m, p) for p in home.iterdir() if p.is_dir() and (m := _STEP.fullmatch(p.name))]
    return sorted((Checkpoint(int(m[1]), path) for m, path in found), key=lambda c: c.step)


def mark(path: Path) -> None:
    """Say that the checkpoint is whole: called once verl has written all of it."""
    sizes = {
        file.relative_to(path).as_posix(): file.stat().st_size
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != MARK
    }
    write_json(path / MARK, {"files": sizes})


def whole(checkpoint: Checkpoint) -> bool:
    """True when every file that it had when it was marked is there, at its size."""
    try:
        said = read_json(checkpoint.path / MARK)
    except ValueError:
        return False
    if not isinstance(said, dict) or not said.get("files"):
        return False
    for name, size in said["files"].items():
        file = checkpoint.path / name
        if not file.is_file() or file.stat().st_size != size:
            return False
    return True


def newest(home: Path) -> Checkpoint | None:
    """The last whole checkpoint, or None."""
    return next((c for c in reversed(checkpoints(home)) if whole(c)), None)


def tidy(home: Path) -> Checkpoint | None:
    """Make ready to go on: what is not whole is removed, and verl's pointer set to the last that is.

    Returns that one, or None when there is none.
    """
    last = None
    for checkpoint in checkpoints(home):
        if whole(checkpoint):
            last = checkpoint
        else:
            shutil.rmtree(checkpoint.path)
    if last is not None:
        write_text(home / TRACKER, str(last.step))
    else:
        (home / TRACKER).unlink(missing_ok=True)
    return last


def prune(home: Path, keep: int, *, spare: frozenset[int] = frozenset()) -> None:
    """Remove the oldest whole checkpoints beyond the last `keep`; those of a step in `spare` stay."""
    there = [c for c in checkpoints(home) if whole(c)]
    for checkpoint in there[: max(0, len(there) - max(1, keep))]:
        if checkpoint.step not in spare:
            (checkpoint.path / MARK).unlink(missing_ok=True)  # first: a half-removed one is not whole
            shutil.rmtree(checkpoint.path)


def copy(checkpoint: Checkpoint, to: Path, keep: int) -> Path:
    """Copy a whole checkpoint to a second home, whole or not at all; older copies beyond `keep` go."""
    target = to / checkpoint.path.name
    if not whole(Checkpoint(checkpoint.step, target)):
        part = to / f".{checkpoint.path.name}.part"
        shutil.rmtree(part, ignore_errors=True)
        to.mkdir(parents=True, exist_ok=True)
        shutil.copytree(checkpoint.path, part)
        shutil.rmtree(target, ignore_errors=True)
        part.replace(target)
    prune(to, keep)
    return target


def restore(home: Path, mirror: Path) -> Checkpoint | None:
    """Take the mirror's last whole checkpoint when it is newer than any of `home`; returns it."""
    there, here = newest(mirror), newest(home)
    if there is None or (here is not None and here.step >= there.step):
        return None
    copy(there, home, keep=ENOUGH)
    return newest(home)


ENOUGH = 1 << 30
