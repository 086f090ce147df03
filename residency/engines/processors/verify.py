"""What a data stage left, looked at with fresh eyes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from residency.engines.base import Verified
from residency.engines.processors.spec import Dataset
from residency.errors import StageFailed
from residency.files import canonical, read_json
from residency.rows.formats import entry


def verify(outputs: Path, datasets: list[Dataset]) -> Verified:
    """Check every dataset's files against the report and each other.

    Raises:
        StageFailed: A file is missing, empty, changed since it was written, or shares a group of
            rows with another part of the same dataset.
    """
    report = read_json(outputs / "report.json")
    if not isinstance(report, dict):
        raise StageFailed("the stage left no report.json: it did not come to its end")
    registered = read_json(outputs / "dataset_info.json") or {}
    files: dict[str, Path] = {
        "dataset_info": outputs / "dataset_info.json",
        "report": outputs / "report.json",
    }
    metrics: dict[str, Any] = {}
    warnings: list[str] = []
    for dataset in datasets:
        said = report.get("datasets", {}).get(dataset.name) or {}
        seen: dict[bytes, str] = {}
        for part, name in dataset.files.items():
            path = outputs / f"{name}.jsonl"
            about = next((f for f in said.get("files", []) if f["name"] == name), None)
            if not path.is_file() or about is None:
                raise StageFailed(f"the stage left no {path.name}")
            rows = _look(path, about)
            if dataset.split is not None:
                _disjoint(path, dataset, name, rows, seen)
            else:
                for _ in rows:
                    pass
            if entry(dataset.format) is not None and name not in registered:
                raise StageFailed(f"{path.name} is not registered in dataset_info.json")
            metrics[f"{name}.rows"] = about["rows"]
            files[name] = path
            if part in said.get("short", {}):
                got, wanted = said["short"][part]
                warnings.append(f"{name} has {got} rows where {wanted} were asked for")
    metrics["rows"] = sum(metrics.values())
    return Verified(files, metrics, tuple(warnings))


def _look(path: Path, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a file; raises StageFailed at the end when it is not what the report says."""
    digest, n = hashlib.sha256(), 0
    with path.open("rb") as stream:
        for line in stream:
            digest.update(line)
            n += 1
            try:
                yield json.loads(line)
            except ValueError:
                raise StageFailed(
                    f"{path.name} is not the file that was written: line {n} is broken"
                ) from None
    if not n:
        raise StageFailed(f"{path.name} has no rows")
    if n != about["rows"] or digest.hexdigest() != about["sha256"]:
        raise StageFailed(f"{path.name} is not the file that was written: its hash or its rows differ")


def _disjoint(
    path: Path, dataset: Dataset, name: str, rows: Iterator[dict[str, Any]], seen: dict[bytes, str]
) -> None:
    """No group of rows in two parts."""
    by = dataset.split.by if dataset.split else None
    for row in rows:
        value = row.get(by) if by else row
        key = hashlib.blake2b(canonical(value), digest_size=16).digest()
        other = seen.setdefault(key, name)
        if other != name:
            what = f"{by} {value}" if by else "a row"
            raise StageFailed(f"{what} stands both in {other} and in {name}")
