"""verl's checkpoints: which are whole, how many are kept, and a second copy of each.

verl writes `global_step_N/actor`, `global_step_N/critic` and `global_step_N/data.pt`, and last of
all the step's number into `latest_checkpointed_iteration.txt`. What is not named there, nor older
than what is, was cut off while it was written. A checkpoint gets a mark of ours when it is whole:
`residency.json`, with the size of each of its files. Where the reference model is renewed, it lies
beside them as `reference_step_N`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from residency.files import read_json, write_json, write_text

TRACKER = "latest_checkpointed_iteration.txt"
MARK = "residency.json"
_STEP = re.compile(r"global_step_(\d+)")
_REFERENCE = re.compile(r"reference_step_(\d+)")


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
    for part in home.glob(".*_step_*.part"):
        shutil.rmtree(part)
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
    _prune_references(home)


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
    for step in references(mirror):
        copy_reference(mirror, home, step)
    return newest(home)


def reference(home: Path, step: int) -> Path:
    """Where the reference model since `step` is kept."""
    return home / f"reference_step_{step}"


def reference_whole(path: Path) -> bool:
    """True when every rank has written its part."""
    return (path / MARK).is_file()


def references(home: Path) -> list[int]:
    """The steps of the reference models that are whole, in order."""
    if not home.is_dir():
        return []
    found = [(m, path) for path in home.iterdir() if (m := _REFERENCE.fullmatch(path.name))]
    return sorted(int(m[1]) for m, path in found if reference_whole(path))


@contextmanager
def new_reference(home: Path, step: int) -> Iterator[Path]:
    """A folder to write a reference model into, which takes its place when all of it is written."""
    target = reference(home, step)
    part = home / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    write_json(part / MARK, {"step": step})
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)


def copy_reference(home: Path, to: Path, step: int) -> None:
    """Copy a reference model from one home to another, unless it is there."""
    if not reference_whole(reference(to, step)):
        with new_reference(to, step) as part:
            shutil.copytree(reference(home, step), part, dirs_exist_ok=True)


def _prune_references(home: Path) -> None:
    """Remove reference models that no checkpoint here, nor a later one, is measured against."""
    steps, there = references(home), [c.step for c in checkpoints(home) if whole(c)]
    if not there:
        return
    first = max((step for step in steps if step <= min(there)), default=0)
    for step in steps:
        if step < first:
            shutil.rmtree(reference(home, step))


ENOUGH = 1 << 30
