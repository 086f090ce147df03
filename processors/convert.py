"""Rows of any source: read, converted, selected, deduplicated, filtered, sampled, split.

Merging needs no processor: `from: [one, two]` reads one source after the other.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from residency.errors import RecipeInvalid
from residency.files import sha256_value
from residency.processing import FIELD, Allowed, Field, Positive, Report, Row, gives, reads_files
from residency.rows.formats import BadRow, to_format
from residency.rows.read import rows_of
from residency.rows.split import assign, order_key, problems, split_of

_BY_FIELD = Allowed(propertyNames=FIELD)
_LIST, _WORDS = {"type": "array"}, {"type": "integer", "minimum": 0}
_LIMIT = {"type": ["number", "string"]}
_WHERE = Allowed(
    propertyNames=FIELD,
    additionalProperties={
        "if": {"type": "object"},
        "then": {
            "additionalProperties": False,
            "properties": {
                "is": {},
                "not": {},
                "in": _LIST,
                "not_in": _LIST,
                "at_least": _LIMIT,
                "at_most": _LIMIT,
                "contains": {},
                "matches": {"type": "string"},
                "missing": {"type": "boolean"},
                "words_at_least": _WORDS,
                "words_at_most": _WORDS,
            },
        },
    },
)
"""What `filter` takes under `where:`, for the check; `_CONDITIONS` does the work."""


@reads_files
def read(
    rows: Iterator[Row],
    *,
    format: Literal["json", "jsonl", "csv", "tsv", "parquet"] | None = None,
    report: Report | None = None,
) -> Iterator[Row]:
    """The rows of each file; `format` is needed only where the file's ending does not say it."""
    for file in rows:
        yield from rows_of(Path(file["path"]), report, format=format)


def _converted(rows: Iterator[Row], format: str, report: Report | None) -> Iterator[Row]:
    report = report or Report()
    for row in rows:
        report.read += 1
        try:
            converted = to_format(row, format)
        except BadRow as error:
            report.drop(str(error), _name(row, report.read))
            continue
        report.kept += 1
        yield converted


def to_alpaca(rows: Iterator[Row], *, report: Report | None = None) -> Iterator[Row]:
    """Conversations of one turn as instruction, input, output, system."""
    return _converted(rows, "alpaca", report)


def to_sharegpt(rows: Iterator[Row], *, report: Report | None = None) -> Iterator[Row]:
    """Alpaca rows or messages as conversations of {from, value}."""
    return _converted(rows, "sharegpt", report)


def to_openai(rows: Iterator[Row], *, report: Report | None = None) -> Iterator[Row]:
    """Alpaca rows or conversations as messages of {role, content}."""
    return _converted(rows, "openai", report)


@gives(argument="fields")
def select(
    rows: Iterator[Row], *, fields: Sequence[Field] = (), report: Report | None = None
) -> Iterator[Row]:
    """Only these fields, in this order; a row that lacks one is dropped."""
    report = report or Report()
    for row in rows:
        report.read += 1
        lacking = [name for name in fields if name not in row]
        if lacking:
            report.drop(f"no field {lacking[0]}", _name(row, report.read))
            continue
        report.kept += 1
        yield {name: row[name] for name in fields}


@gives(keeps=True, argument="fields")
def rename(
    rows: Iterator[Row],
    *,
    fields: Annotated[Mapping[str, str], _BY_FIELD] | None = None,
    report: Report | None = None,
) -> Iterator[Row]:
    """Fields under new names, `{old: new}`; a row that lacks an old one is dropped."""
    report = report or Report()
    names = dict(fields or {})
    for row in rows:
        report.read += 1
        lacking = [name for name in names if name not in row]
        if lacking:
            report.drop(f"no field {lacking[0]}", _name(row, report.read))
            continue
        report.kept += 1
        yield {names.get(key, key): value for key, value in row.items()}


@gives(keeps=True, argument="fields")
def put(
    rows: Iterator[Row], *, fields: Mapping[str, Any] | None = None, report: Report | None = None
) -> Iterator[Row]:
    """The same values in every row: a system prompt, the name of a source."""
    report = report or Report()
    for row in rows:
        report.read += 1
        report.kept += 1
        yield {**row, **(fields or {})}


@gives(keeps=True)
def dedupe(
    rows: Iterator[Row],
    *,
    by: Sequence[Field] | Field = (),
    normalise: bool = True,
    report: Report | None = None,
) -> Iterator[Row]:
    """The first of all rows that are the same.

    Args:
        rows: Any rows.
        by: Fields that are compared; all of them when none is named.
        normalise: Compare text without regard to case, punctuation and white space.
        report: What was dropped.
    """
    report = report or Report()
    fields = [by] if isinstance(by, str) else list(by)
    seen: set[bytes] = set()
    for row in rows:
        report.read += 1
        value: Any = [row.get(name) for name in fields] if fields else row
        # 16 bytes a row: a million rows take about 60 MB.
        key = bytes.fromhex(sha256_value(_normal(value) if normalise else value)[:32])
        if key in seen:
            report.drop("seen before", _name(row, report.read))
            continue
        seen.add(key)
        report.kept += 1
        yield row


@gives(keeps=True)
def filter(
    rows: Iterator[Row],
    *,
    where: Annotated[Mapping[str, Any], _WHERE] | None = None,
    report: Report | None = None,
) -> Iterator[Row]:
    """Rows that meet every condition.

    `where` maps a field (`label`, or `journal.issn` for one inside another) to a value that it
    must have, or to conditions that must all hold: `is`, `not`, `in`, `not_in`, `at_least`,
    `at_most`, `contains`, `matches` (a regular expression, searched for), `missing` (true or
    false; empty text and null are missing), `words_at_least`, `words_at_most`.

    Examples:
        where: {year: {at_least: 1978}, abstract: {words_at_most: 120}, label: yes}
    """
    report = report or Report()
    tests = _tests(where or {})
    for row in rows:
        report.read += 1
        failed = next((said for said, field, test in tests if not test(_field(row, field))), None)
        if failed:
            report.drop(f"not {failed}", _name(row, report.read))
            continue
        report.kept += 1
        yield row


@gives(keeps=True)
def sample(
    rows: Iterator[Row],
    *,
    n: Positive = 1000,
    seed: int = 0,
    by: Field | None = None,
    report: Report | None = None,
) -> Iterator[Row]:
    """`n` rows chosen by the seed and their content (or their field `by`), whatever their order.

    The rows come in the order in which they came; `n` of them are held in memory.
    """
    report = report or Report()
    best: list[tuple[int, int, Row]] = []
    for row in rows:
        report.read += 1
        place = -order_key(seed, row.get(by) if by else row)
        item = (place, -report.read, row)
        if len(best) < n:
            heapq.heappush(best, item)
        elif best and item > best[0]:
            heapq.heapreplace(best, item)
    report.kept += len(best)
    if report.read > len(best):
        report.dropped["not in the sample"] = report.read - len(best)
    for _, _, row in sorted(best, key=lambda item: -item[1]):
        yield row


@gives("part", keeps=True, argument="into")
def split(
    rows: Iterator[Row],
    *,
    parts: Mapping[str, float | Literal["rest"]] | None = None,
    by: Field | None = None,
    seed: int = 0,
    stratify: Sequence[Field] | Field | None = None,
    into: str = "part",
    report: Report | None = None,
) -> Iterator[Row]:
    """Each row with its part in the field `into`; the stage's `split: {field: part, …}` uses it.

    Sizes are as in a recipe's `split:`; rows that belong to no part are dropped. Holds all rows
    in memory: the stage's own `split:` does not.
    """
    report = report or Report()
    spec = split_of({**(parts or {}), "by": by, "seed": seed, "stratify": stratify})
    wrong = problems(dict(spec.parts))
    if wrong:
        raise RecipeInvalid("; ".join(f"split {key}: {text}".replace(" :", ":") for key, text in wrong))
    held = list(rows)
    report.read += len(held)
    keys = [order_key(seed, row.get(by) if by else row) for row in held]
    strata = [tuple(str(row.get(name)) for name in spec.strata) for row in held]
    for number, (row, part) in enumerate(zip(held, assign(keys, strata, spec.parts).parts, strict=True), 1):
        if part is None:
            report.drop("in no part", _name(row, number))
        else:
            report.kept += 1
            yield {**row, into: part}


def _name(row: Row, number: int) -> str:
    """What a row is called in a report."""
    for key in ("pmid", "id", "key"):
        if isinstance(row.get(key), str | int):
            return str(row[key])
    return f"row {number}"


def _normal(value: Any) -> Any:
    """Text without case, punctuation and white space; anything else as it is."""
    if isinstance(value, str):
        text = unicodedata.normalize("NFKC", value).casefold()
        return re.sub(r"[\W_]+", " ", text).strip()
    if isinstance(value, Mapping):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_normal(item) for item in value]
    return value


def _field(row: Any, path: str) -> Any:
    """The value under `a.b`; a field whose own name holds a dot comes first."""
    if isinstance(row, Mapping) and path in row:
        return row[path]
    for step in path.split("."):
        row = row.get(step) if isinstance(row, Mapping) else None
    return row


def _missing(value: Any) -> bool:
    return value is None or value == "" or value == []


def _count(value: Any) -> int:
    return len(value.split()) if isinstance(value, str) else 0


def _compared(value: Any, limit: Any, sign: int) -> bool:
    """value ≥ limit (sign 1) or value ≤ limit (sign -1), for two numbers or two texts."""
    if isinstance(limit, int | float) and isinstance(value, str):
        try:
            value = float(value)  # a CSV file knows only text
        except ValueError:
            return False
    if isinstance(value, str) != isinstance(limit, str) or not isinstance(value, str | int | float):
        return False
    return bool(value >= limit if sign > 0 else value <= limit)


_Test = Callable[[Any], bool]
_CONDITIONS: dict[str, Callable[[Any], _Test]] = {
    "is": lambda want: lambda value: bool(value == want),
    "not": lambda want: lambda value: bool(value != want),
    "in": lambda want: lambda value: value in want,
    "not_in": lambda want: lambda value: value not in want,
    "at_least": lambda want: lambda value: _compared(value, want, 1),
    "at_most": lambda want: lambda value: _compared(value, want, -1),
    "contains": lambda want: lambda value: isinstance(value, str | list | tuple) and want in value,
    "matches": lambda want: lambda value: isinstance(value, str) and bool(re.search(want, value)),
    "missing": lambda want: lambda value: _missing(value) == want,
    "words_at_least": lambda want: lambda value: _count(value) >= want,
    "words_at_most": lambda want: lambda value: _count(value) <= want,
}


def _tests(where: Mapping[str, Any]) -> list[tuple[str, str, _Test]]:
    """(what it says, field, test) for each condition. Raises RecipeInvalid for an unknown one."""
    found = []
    for name, wanted in where.items():
        conditions = wanted if isinstance(wanted, Mapping) else {"is": wanted}
        for condition, value in conditions.items():
            if condition not in _CONDITIONS:
                raise RecipeInvalid(
                    f"processors.convert.filter does not know the condition `{condition}` for {name}",
                    "known: " + ", ".join(_CONDITIONS),
                )
            if condition in ("in", "not_in") and not isinstance(value, list | tuple):
                raise RecipeInvalid(f"processors.convert.filter: `{condition}` for {name} must be a list")
            if condition == "matches":
                try:
                    re.compile(value)
                except (re.error, TypeError) as error:
                    raise RecipeInvalid(f"processors.convert.filter: `matches` for {name}: {error}") from None
            found.append((f"{name} {condition} {value}", name, _CONDITIONS[condition](value)))
    return found
