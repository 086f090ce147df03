"""dataset_info.json: the project's, and the one that a data stage leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REGISTRY = "dataset_info.json"


def entries(project: Path) -> dict[str, dict[str, Any]]:
    """The project's registered datasets; none when the file is absent or cannot be read."""
    try:
        found = json.loads((project / REGISTRY).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in found.items() if isinstance(v, dict)} if isinstance(found, dict) else {}


def data_file(project: Path, entry: dict[str, Any]) -> Path | None:
    """The file of an entry; None when it is on a hub."""
    name = entry.get("file_name")
    return (project / name).absolute() if isinstance(name, str) else None


def is_path(name: str) -> bool:
    """True for a `from:` that names a file, not a source or dataset."""
    return "/" in name or name.endswith((".json", ".jsonl", ".csv", ".tsv", ".parquet", ".gz"))
