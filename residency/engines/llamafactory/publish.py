"""The folder that a LLaMA-Factory YAML names as `output_dir`: the result is put there when it is done."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from residency.engines.base import Job
from residency.files import read_json, write_json

MARKER = ".residency.json"
"""Says which recipe and stage a published folder comes from."""


def publish(job: Job, source: Path, target: Path) -> str | None:
    """Put all of `source` at `target`; returns a warning when that was not done.

    A folder that an earlier stage published is replaced. Anyone else's is left alone.
    """
    if target.exists() and not _ours(target):
        return f"output_dir: {target} is not ours and was left alone; the result is in {job.outputs}"
    part = target.parent / f".{target.name}.part"
    try:
        shutil.rmtree(part, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Copies, not links: who edits a published file must not change the store's.
        shutil.copytree(source, part, ignore=shutil.ignore_patterns(".*"))
        write_json(part / MARKER, {"recipe": job.config.get("name") or job.name, "stage": job.folder.name})
        swap(part, target)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        return f"output_dir: {target} could not be written ({error.strerror}); the result is in {job.outputs}"
    return None


def swap(part: Path, target: Path) -> None:
    """Put the folder `part` in the place of `target`."""
    old = target.parent / f".{target.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        os.replace(target, old)
    os.replace(part, target)
    shutil.rmtree(old, ignore_errors=True)


def _ours(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        return isinstance(read_json(folder / MARKER), dict) or not any(folder.iterdir())
    except (OSError, ValueError):
        return False
