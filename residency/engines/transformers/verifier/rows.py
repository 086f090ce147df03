"""The rows that a verifier is trained and measured on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from residency.errors import Missing, StageFailed
from residency.processing import Report
from residency.recipe.suggest import closest
from residency.rewards import datasets
from residency.rows.read import rows_of

COLUMNS = ("response", "reference", "label")
RIGHT = frozenset({"1", "true", "yes", "right", "correct"})
WRONG = frozenset({"0", "false", "no", "wrong", "incorrect"})
SHOWN = 3


class Example(NamedTuple):
    """One row."""

    response: str
    reference: str
    right: bool


def locate(
    config: Mapping[str, Any],
    key: str,
    recipe_folder: Path,
    project: Path,
    made: Mapping[str, Mapping[str, Any]],
) -> list[Path]:
    """The data files under `dataset` or `eval_dataset`; arguments and errors as `datasets.find`."""
    return [source.path for source in datasets.find(config, key, recipe_folder, project, made)]


def read(paths: Iterable[Path], columns: Mapping[str, str]) -> list[Example]:
    """The rows of all files.

    Raises:
        Missing: a file is not there.
        StageFailed: a file lacks a column, holds no rows, or a row cannot be used.
    """
    found: list[Example] = []
    for path in paths:
        if not path.is_file():
            raise Missing(f"the data file {path} is not there")
        report = Report()
        before = len(found)
        bad: list[str] = []
        for number, row in enumerate(rows_of(path, report), 1):
            if number == 1:
                _check_columns(row, columns, path)
            try:
                found.append(_example(row, columns))
            except ValueError as error:
                bad.append(f"row {number}: {error}")
        bad += [f"{where}: {reason}" for reason, places in report.examples.items() for where in places]
        if bad:
            more = f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
            raise StageFailed(
                f"{path.name}: {'; '.join(bad[:SHOWN])}{more}",
                "correct the rows, or the names under `columns`",
            )
        if len(found) == before:
            raise StageFailed(f"{path} holds no rows")
    return found


def _check_columns(row: Mapping[str, Any], columns: Mapping[str, str], path: Path) -> None:
    for role in COLUMNS:
        column = columns[role]
        if column not in row:
            near = closest(column, row)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise StageFailed(
                f"{path.name} has no column `{column}` for the {role}",
                f"{hint}it has {', '.join(row)}; set `columns: {{{role}: NAME}}`",
            )


def _example(row: Mapping[str, Any], columns: Mapping[str, str]) -> Example:
    texts = []
    for role in ("response", "reference"):
        value = row.get(columns[role])
        if not isinstance(value, str | int | float) or not str(value).strip():
            raise ValueError(f"`{columns[role]}` is {value!r:.40}, not a text")
        texts.append(str(value).strip())
    return Example(texts[0], texts[1], label(row.get(columns["label"]), columns["label"]))


def label(value: Any, column: str = "label") -> bool:
    """Whether a label says right.

    Raises:
        ValueError: it says neither.
    """
    said = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    if said in RIGHT:
        return True
    if said in WRONG:
        return False
    raise ValueError(f"`{column}` is {value!r:.40}, and a label is true or false, 1 or 0, right or wrong")


def hold_out(rows: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """(rows to train on, rows to measure on), parted by a hash of the response and the reference.

    The same pair is never on both sides. At least one pair stays on each.

    Raises:
        StageFailed: there are fewer than two different pairs.
    """
    ranked = sorted(
        {pair(row) for row in rows},
        key=lambda texts: hashlib.blake2b(f"{seed}\0{texts[0]}\0{texts[1]}".encode()).digest(),
    )
    if len(ranked) < 2:
        raise StageFailed("the dataset holds too few different rows to keep any out", "give `eval_dataset`")
    kept = set(ranked[: min(len(ranked) - 1, max(1, round(share * len(ranked))))])
    train = [row for row in rows if pair(row) not in kept]
    return train, [row for row in rows if pair(row) in kept]


def pair(row: Example) -> tuple[str, str]:
    """What the verifier sees of a row."""
    return row.response, row.reference


def once(rows: list[Example]) -> list[Example]:
    """Each row once: the same pair twice says no more about a verifier than once."""
    return list(dict.fromkeys(rows))


def check_parts(train: list[Example], held: list[Example]) -> list[str]:
    """What is odd about the two parts, as warnings.

    Raises:
        StageFailed: all rows to train on have one label.
    """
    right = sum(row.right for row in train)
    if not 0 < right < len(train):
        word = "right" if right else "wrong"
        raise StageFailed(
            f"all {len(train):,} rows to train on are labelled {word}: there is nothing to tell apart"
        )
    warnings = []
    seen = {pair(row) for row in train}
    known = sum(pair(row) in seen for row in held)
    if known:
        warnings.append(f"{known:,} of {len(held):,} held-out rows are trained on as well")
    share = right / len(train)
    if not 0.2 <= share <= 0.8:
        warnings.append(f"{share:.0%} of the rows to train on are right: the classes are far from balanced")
    return warnings
