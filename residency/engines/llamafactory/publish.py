"""The folder that a LLaMA-Factory YAML names as `output_dir`: the result is put there when it is done."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

from residency.engines.base import Job
from residency.engines.llamafactory import checkpoints
from residency.files import read_json, write_json

MARKER = ".residency.json"
"""Says which recipe and stage a published folder comes from, and which files."""


def publish(job: Job, source: Path, target: Path, *, overwrite: bool = False) -> str | None:
    """Put all of `source` at `target`; returns a warning when that was not done.

    What an earlier stage published there is replaced; files that someone else put there stay. A
    folder that is not ours is left alone, unless `overwrite` (`overwrite_output_dir`) says that it
    is meant: then, as LLaMA-Factory does, files are laid over those of the same name.
    """
    there = _marker(target)
    if there is None and _in_use(target) and not (overwrite and target.is_dir()):
        return f"output_dir: {target} is not ours and was left alone; the result is in {job.outputs}"
    part = target.parent / f".{target.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copies, not links: who edits a published file must not change the store's.
        shutil.copytree(source, part, ignore=shutil.ignore_patterns(".*"))
        files = _files(part)
        _carry_over(target, part, (there or {}).get("files"))
        name = job.config.get("name") or job.name
        write_json(part / MARKER, {"recipe": name, "stage": job.folder.name, "files": files})
        swap(part, target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        return f"output_dir: {target} could not be written ({error.strerror}); the result is in {job.outputs}"
    return None


def published(job: Job, target: Path) -> bool:
    """True when `target` is what this very stage published, and whole."""
    there = _marker(target)
    if there is None or there.get("stage") != job.folder.name:
        return False
    return all((target / name).is_file() for name in there.get("files") or ())


def swap(part: Path, target: Path) -> None:
    """Put the folder `part` in the place of `target`."""
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(part, target)
    shutil.rmtree(old, ignore_errors=True)


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _carry_over(target: Path, part: Path, ours: Collection[str] | None) -> None:
    """Take into `part` the files of `target` that are not `ours` and have no successor there."""
    if not target.is_dir():
        return
    for name in _files(target):
        if name == MARKER or name in (ours or ()) or (part / name).exists():
            continue
        (part / name).parent.mkdir(parents=True, exist_ok=True)
        checkpoints.link(target / name, part / name)


def _in_use(target: Path) -> bool:
    return target.exists() and (not target.is_dir() or any(target.iterdir()))


def _marker(folder: Path) -> dict[str, Any] | None:
    """What the marker of a published folder says; None in one that is not ours."""
    try:
        found = read_json(folder / MARKER)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
