"""One dataset: rows in, through its processors, into its files."""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from residency import functions
from residency.engines.processors import registry
from residency.engines.processors.notes import Notes
from residency.engines.processors.spec import Dataset, Step
from residency.engines.processors.write import Writer, to_line
from residency.errors import RecipeInvalid, ResidencyError, StageFailed
from residency.files import read_json, sha256_file, write_json
from residency.processing import Processor, Report, Row
from residency.rows.formats import BadRow, to_format
from residency.rows.read import rows_of
from residency.sources import Fetched

_T = TypeVar("_T")


@dataclass
class Maker:
    """Makes the datasets of one stage."""

    folder: Path
    sources: Mapping[str, Fetched]
    recipe_folder: Path
    project: Path
    notes: Notes
    done: Path
    """Where a file says of each finished dataset what it is."""

    def make(self, dataset: Dataset) -> dict[str, Any]:
        """Write the dataset's files; what report.json says of it.

        Raises:
            StageFailed: No rows came out, or a processor failed.
        """
        mark = self.done / f"{dataset.name}.json"
        before = read_json(mark)
        if isinstance(before, dict) and self._unchanged(before):
            self.notes.say(f"dataset {dataset.name}: finished before")
            return before
        self.notes.say(f"dataset {dataset.name}: from {', '.join(map(_short, dataset.sources))}")
        began = time.monotonic()
        steps: list[tuple[str, Mapping[str, Any], _Counted]] = []
        rows = self._chain(dataset, steps)
        formatted = Report()
        writer = Writer(self.folder, dataset)
        files = writer.write(self._shown(dataset.name, _in_format(rows, dataset.format, formatted)))
        empty = [file["name"] for file in files if not file["rows"]]
        processors = [
            {"function": name, "args": dict(args), **counted.to_json()} for name, args, counted in steps
        ]
        if empty:
            raise StageFailed(
                f"dataset {dataset.name}: {', '.join(empty)} would have no rows",
                _why_empty(processors, formatted),
            )
        report = {
            "from": list(dataset.sources),
            "format": dataset.format,
            "processors": processors,
            "formatted": formatted.to_json(),
            "files": files,
            "short": writer.short,
            "left_over": writer.left_over,
            "seconds": round(time.monotonic() - began, 2),
        }
        for name, (got, wanted) in writer.short.items():
            self.notes.say(f"warning: {dataset.name}: {name} has {got} rows where {wanted} were asked for")
        write_json(mark, report)
        return report

    def _unchanged(self, before: dict[str, Any]) -> bool:
        """True when the files of a finished dataset are as they were written."""
        for file in before.get("files", []):
            path = self.folder / "outputs" / f"{file['name']}.jsonl"
            if not path.is_file() or sha256_file(path) != file["sha256"]:
                return False
        return True

    def _read(self, name: str, rows: Iterator[Row]) -> Iterator[Row]:
        """The rows as they are read, counted for the live view: much may be read before one comes out."""
        for n, row in enumerate(rows, 1):
            if n % 1000 == 0:
                self.notes.progress(f"reading for {name}: {n:,} rows")
            yield row

    def _shown(self, name: str, rows: Iterator[_T]) -> Iterator[_T]:
        """The rows, counted for the live view."""
        for n, row in enumerate(rows, 1):
            self.notes.progress(f"making {name}", n)
            yield row

    def _chain(self, dataset: Dataset, steps: list[tuple[str, Mapping[str, Any], _Counted]]) -> Iterator[Row]:
        """The rows after the last processor; adds each processor's counts to `steps`."""
        loaded = [(step, functions.load(step.function)) for step in dataset.steps]
        reader = bool(loaded) and getattr(loaded[0][1], "reads_files", False)
        if reader:
            rows: Iterator[Row] = iter(list(self._files(dataset)))
        else:
            read = _Counted(Report())
            steps.append(("residency.rows.read.rows_of", {}, read))
            rows = self._read(dataset.name, read.out(self._rows(dataset, read.report)))
        for step, function in loaded:
            counted = _Counted(Report())
            steps.append((step.function, step.args, counted))
            rows = counted.out(_guard(step, _call(step, function, counted.into(rows), counted.report)))
            if len(steps) == 1:
                rows = self._read(dataset.name, rows)
        return rows

    def _rows(self, dataset: Dataset, report: Report) -> Iterator[Row]:
        """The rows of everything under `from:`, one after the other."""
        for file in self._files(dataset):
            yield from rows_of(Path(file["path"]), report)

    def _files(self, dataset: Dataset) -> Iterator[Row]:
        """A row for each file under `from:`."""
        entries = registry.entries(self.project)
        for name in dataset.sources:
            made = self.folder / "outputs" / f"{name}.jsonl"
            if name in self.sources:
                for path in self.sources[name].files:
                    yield {"path": str(path), "source": name}
            elif made.is_file():
                yield {"path": str(made), "source": name}
            elif name in entries and (path_ := registry.data_file(self.project, entries[name])) is not None:
                yield {"path": str(path_), "source": name}
            elif registry.is_path(name):
                yield {"path": str(self.recipe_folder / name), "source": name}
            else:
                raise RecipeInvalid(f"`{name}` is no source and no dataset")


class _Counted:
    """How many rows really went into a processor and came out, whatever it reports itself."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.rows_in = 0
        self.rows_out = 0

    def into(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows_in += 1
            yield row

    def out(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            self.rows_out += 1
            yield row

    def to_json(self) -> dict[str, Any]:
        found = self.report.to_json()
        # A processor that reports nothing is believed to have looked at what it got.
        if not found["read"]:
            found["read"] = self.rows_in
        found["kept"] = self.rows_out
        return found


def _call(step: Step, function: Processor, rows: Iterator[Row], report: Report) -> Iterator[Row]:
    """Start the generator; `report` is given to a function that takes one."""
    takes = inspect.signature(function).parameters
    own: dict[str, Any] = dict(step.args)
    if "report" in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values()):
        own["report"] = report
    try:
        return iter(function(rows, **own))
    except TypeError as error:
        raise RecipeInvalid(f"{step.function}: {error}") from None


def _guard(step: Step, rows: Iterator[Row]) -> Iterator[Row]:
    """The rows of a processor; its own mistakes become a StageFailed that names it."""
    try:
        for row in rows:
            if not isinstance(row, dict):
                raise StageFailed(f"{step.function} gave {type(row).__name__} where a row (a dict) is due")
            yield row
    except ResidencyError:
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise StageFailed(
            f"{step.function} failed: {type(error).__name__}: {error}",
            f"at {frame.filename}, line {frame.lineno}",
        ) from error


def _in_format(rows: Iterator[Row], format: str, report: Report) -> Iterator[tuple[Row, bytes]]:
    """The rows in the dataset's format, each with its line of JSON; the others are dropped."""
    for row in rows:
        report.read += 1
        try:
            converted = to_format(row, format)
            line = to_line(converted)
        except BadRow as error:
            report.drop(str(error), row.get("pmid") or row.get("id") or f"row {report.read}")
            continue
        report.kept += 1
        yield converted, line


def _why_empty(processors: list[dict[str, Any]], formatted: Report) -> str:
    """Where the rows went."""
    lines = []
    for step in [*processors, {"function": "the format", **formatted.to_json()}]:
        why = "; ".join(f"{d['n']} {d['reason']}" for d in step["dropped"][:3])
        said = f"{step['function']} read {step['read']}, kept {step['kept']}"
        lines.append(f"{said} ({why})" if why else said)
    return ", then ".join(lines)


def _short(name: str) -> str:
    return Path(name).name if "/" in name else name
