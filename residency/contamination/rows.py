"""What of a row is compared: the texts of a training row, the prompt of an evaluation row, their ids."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.errors import Missing
from residency.processing import Row
from residency.rows.read import format_of, rows_of

ANSWERS = frozenset(
    {"output", "answer", "answers", "answer_idx", "label", "labels", "target", "ground_truth", "gold"}
    | {"final_decision", "long_answer", "reward_model", "chosen", "rejected", "response", "completion"}
    | {
        "exact_answer",
        "ideal_answer",
        "explanation",
        "exp",
        "rationale",
        "reasoning",
        "solution",
        "reference",
    }
)
"""Fields that hold what is to be answered. Of an evaluation row the question is compared, not the answer."""
FRAME = frozenset(
    {"system", "system_prompt", "task", "question_type", "type", "data_source", "dataset", "source", "split"}
    | {"id", "pmid", "qid", "question_id", "_id", "url", "urls", "file", "path", "licence", "license", "key"}
)
"""Fields that are no text of the question."""
_ANSWERED = frozenset({"assistant", "gpt", "bot", "function_call", "tool", "observation", "system"})
_NAMESPACES = {"pmid": "pmid", "pubmedid": "pmid", "nctid": "nct", "nct": "nct", "doi": "doi"}
_FORMS = {
    "pmid": re.compile(r"[1-9]\d{0,8}"),
    "nct": re.compile(r"NCT\d{8}", re.IGNORECASE),
    "doi": re.compile(r"10\.\d{4,9}/\S+"),
}
_UNIQUE = re.compile(r"[0-9a-f]{24}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}", re.IGNORECASE)
_NESTED = ("extra_info", "metadata", "meta")


@dataclass(frozen=True, slots=True)
class RowSet:
    """A training set or an evaluation set: some files that are used for one thing."""

    name: str
    """`sft`, or `before/pubmedqa`: the stages that use it, and the task."""
    paths: tuple[str, ...]
    """Files of rows, or folders of them."""


@dataclass(frozen=True, slots=True)
class Place:
    """One row of a set."""

    set: str
    file: str
    row: int
    """Counts from 1 in the file."""
    id: str = ""


def read(chosen: RowSet) -> Iterator[tuple[str, int, Row]]:
    """File, number and content of every row of a set.

    Raises:
        Missing: A file is not there.
        StageFailed: A file cannot be read as rows.
    """
    for name in chosen.paths:
        path = Path(name)
        if not path.exists():
            raise Missing(f"{path} of the set `{chosen.name}` is not there")
        inside = (
            sorted(p for p in path.rglob("*") if p.is_file() and format_of(p)) if path.is_dir() else [path]
        )
        for file in inside:
            for number, row in enumerate(rows_of(file), 1):
                yield str(file), number, row


def texts(row: Mapping[str, Any]) -> list[str]:
    """Every text of a training row, questions and answers, as it stands in its fields."""
    return [text for key, value in row.items() if key not in FRAME for text in _strings(value)]


def asked(row: Mapping[str, Any]) -> list[str]:
    """The texts of a training row less its answers: rows that ask the same have the same."""
    return [text for _, text in prompt(row)] or texts(row)


def prompt(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The field and text of each part of what an evaluation row asks; options count as one part."""
    found = []
    for key, value in row.items():
        if key.casefold() in ANSWERS or key.casefold() in FRAME:
            continue
        if _is_talk(value):
            found += [(key, text) for turn in value if (text := _asked(turn))]
        elif key in _NESTED and isinstance(value, Mapping):
            found += [(f"{key}.{name}", text) for name, text in prompt(value)]
        else:
            text = "\n".join(_strings(value))
            found += [(key, text)] if text.strip() else []
    return found


def ids(row: Mapping[str, Any], named: Sequence[str] = ()) -> list[str]:
    """The ids of a row that mean the same in every set: `pmid:31452104`.

    A PMID, a trial's NCT number, a DOI, and ids that are unique in themselves (UUIDs, BioASQ's 24 hex
    digits). `1` under `id` means nothing outside of its set, unless `named` says that the field counts.
    """
    found = []
    for key, value in row.items():
        if key in _NESTED and isinstance(value, Mapping):
            found += ids(value, named)
        if (
            not isinstance(value, str | int)
            or isinstance(value, bool)
            or len(text := str(value).strip()) > 200
        ):
            continue
        space = _namespace(key)
        if key in named and text:
            found.append(f"{key}:{text}")
        elif space and _FORMS[space].fullmatch(text):
            found.append(f"{space}:{text.casefold()}")
        elif key in ("id", "_id", "qid", "question_id", "uuid") and _UNIQUE.fullmatch(text):
            found.append(f"id:{text.casefold()}")
    return found


@functools.cache
def _namespace(key: str) -> str | None:
    return _NAMESPACES.get(key.casefold().replace("_", "").replace("-", ""))


def identity(row: Mapping[str, Any]) -> str:
    """The name by which a person finds a row, if it has one."""
    for key in ("id", "question_id", "qid", "_id", "pmid", "PMID", "key"):
        if row.get(key) not in (None, ""):
            return str(row[key])
    return ""


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if key not in ("role", "from"):
                yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def _is_talk(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and ("content" in turn or "value" in turn) for turn in value)
    )


def _asked(turn: Mapping[str, Any]) -> str:
    if turn.get("role", turn.get("from")) in _ANSWERED:
        return ""
    return "\n".join(_strings(turn.get("content", turn.get("value"))))
