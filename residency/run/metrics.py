"""`metrics.jsonl`: one row a step, in the order of the steps, always whole lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from residency import files
from residency.run.state import dumps, jsonable

FILE = "metrics.jsonl"

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """The rows of a metrics file; lines that are not whole are passed over."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return files.jsonl_rows(text)


class MetricsFile:
    """The rows of a stage over all its attempts, keyed by `step`.

    An engine logs several rows at one step (its loss, then an evaluation): they become one row,
    a later value taking an earlier one's place. So do the steps that a resumed attempt repeats.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[float, Row] = {}
        for row in read(path):
            if _step(row) is not None:
                self.rows.setdefault(row["step"], {}).update(row)
        # What a killed launcher may have left half-written goes now.
        self._whole = not path.exists() or path.read_bytes()[-1:] in (b"\n", b"")

    def update(self, logged: Iterable[Mapping[str, Any]]) -> int:
        """Take over all rows that the engine has logged so far; returns how many are new or changed."""
        merged: dict[float, Row] = {}
        for row in logged:
            step = _step(row)
            if step is not None:
                merged.setdefault(step, {}).update(jsonable(row))
        last = max(self.rows, default=float("-inf"))
        fresh: list[float] = []
        changed = 0
        for step, row in merged.items():
            old = self.rows.get(step)
            if old is None:
                fresh.append(step)
                self.rows[step] = row
            elif any(key not in old or old[key] != value for key, value in row.items()):
                changed += 1
                self.rows[step] = old | row
        if changed or not self._whole or (fresh and min(fresh) < last):
            self._rewrite()
        elif fresh:
            self._append(sorted(fresh))
        return changed + len(fresh)

    def _append(self, steps: list[float]) -> None:
        data = "".join(dumps(self.rows[step]) + "\n" for step in steps).encode()
        before = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab", buffering=0) as stream:
                if stream.write(data) != len(data):
                    raise OSError(28, os.strerror(28))
        except OSError:
            if self.path.exists():
                os.truncate(self.path, before)
            raise

    def _rewrite(self) -> None:
        files.write_text(self.path, "".join(dumps(self.rows[s]) + "\n" for s in sorted(self.rows)))
        self._whole = True


def _step(row: Mapping[str, Any]) -> float | None:
    step = row.get("step")
    return step if isinstance(step, int | float) and not isinstance(step, bool) else None
