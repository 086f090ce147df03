"""Where indexes lie: by the folder itself, or by the run that made one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.files import read_object

MANIFEST = "manifest.json"
KIND, OUTPUT = "index", "index"
"""The kind of a stage that makes one, and the name of what it leaves."""


def find(text: str, runs: Path, start: Path | None = None) -> Path | None:
    """The index that `text` names: a folder, a run's (or its recipe's) name, `name/id`, or an id.

    Of a run that made several it is the last; `RUN:STAGE` names another.

    Args:
        text: As a user writes it.
        runs: The runs folder.
        start: Where a relative path starts; the current folder.
    """
    given = Path(text).expanduser()
    for path in ((start or Path.cwd()) / given, given):
        if (path / MANIFEST).is_file():
            return path.absolute()
        if (path / "run.json").is_file():
            return of_run(path, runs)
    if not text or given.is_absolute() or text.startswith("."):
        return None
    name, _, stage = text.partition(":")
    for run in (runs / name / "latest", runs / name, *sorted(runs.glob(f"*/{name}"))):
        if (run / "run.json").is_file() and (found := of_run(run, runs, stage or None)) is not None:
            return found
    return None


def of_run(run: Path, runs: Path, wanted: str | None = None) -> Path | None:
    """The index that a run's stage `wanted` left, or the last of the run. None when there is none."""
    for stage in reversed(_list(read_object(run / "run.json").get("stages"))):
        if stage.get("kind") != KIND or stage.get("status") != "done":
            continue
        if wanted is not None and stage.get("name") != wanted:
            continue
        folder = runs / str(stage.get("folder") or "")
        outputs = read_object(folder / "state.json").get("outputs")
        where = outputs.get(OUTPUT) if isinstance(outputs, dict) else None
        if where and (folder / str(where) / MANIFEST).is_file():
            return (folder / str(where)).absolute()
    return None


def _list(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
