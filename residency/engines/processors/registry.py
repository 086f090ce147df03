"""dataset_info.json: the project's, and the one that a data stage leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.files import read_object

REGISTRY = "dataset_info.json"


def entries(project: Path) -> dict[str, dict[str, Any]]:
    """The project's registered datasets; none when the file is absent or cannot be read."""
    found = read_object(project / REGISTRY)
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def data_file(project: Path, entry: dict[str, Any]) -> Path | None:
    """The file of an entry; None when it is on a hub."""
    name = entry.get("file_name")
    return (project / name).absolute() if isinstance(name, str) else None


def is_path(name: str) -> bool:
    """True for a `from:` that names a file, not a source or dataset."""
    return "/" in name or name.endswith((".json", ".jsonl", ".csv", ".tsv", ".parquet", ".gz"))
