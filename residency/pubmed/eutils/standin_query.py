"""The little of PubMed's query language that the stand-in understands."""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""\s*(?:(?P<open>\()|(?P<close>\))|(?P<op>AND|OR|NOT)(?=[\s("]|$)
    |(?P<term>"[^"]*"(?:\[[^\]]*\])?(?:\s*:\s*"[^"]*"(?:\[[^\]]*\])?)?
    |[^\s()"\[\]]+(?:\[[^\]]*\])?))""",
    re.VERBOSE,
)
_PARTS = re.compile(r'^"?(?P<text>[^"\[\]]*)"?(?:\[(?P<field>[^\]]*)\])?$')
_SPAN = re.compile(r'^"?(?P<low>[^"\[\]:]+)"?(?:\[[^\]]*\])?\s*:\s*(?P<high>.+)$')
_NAMES = {
    "title": "ti",
    "title/abstract": "tiab",
    "mesh": "mh",
    "mesh terms": "mh",
    "majr": "mh",
    "publication type": "pt",
    "language": "la",
    "pdat": "dp",
    "date - publication": "dp",
    "date - entry": "edat",
    "pmid": "uid",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """What can be searched of a record."""

    pmid: int
    published: datetime.date
    entered: datetime.date
    title: str
    abstract: str
    mesh: tuple[str, ...]
    types: tuple[str, ...]
    languages: tuple[str, ...]


Test = Callable[[Entry], bool]


_Step = tuple[str, Test | None, int]
"""One step of a query: what joins it to what stands on its left; a term's test, or None for a bracket; of an
opening bracket the number of its closing one, else 0."""


def matches(query: str, entry: Entry) -> bool:
    """Whether the query finds the record."""
    return _holds(_compiled(query), entry)


def _holds(steps: list[_Step], entry: Entry) -> bool:
    """Take terms from left to right, as PubMed does: `a OR b AND c` is `(a OR b) AND c`.

    Without recursion: a query may have thousands of terms and brackets.
    """
    value: bool | None = None
    outer: list[tuple[bool | None, str]] = []
    at, count = 0, len(steps)
    while at < count:
        operator, test, closes = steps[at]
        at += 1
        if test is not None:
            if value is None:
                value = test(entry)
            elif operator == "OR":
                value = value or test(entry)
            else:
                value = value and test(entry) != (operator == "NOT")
        elif not closes:
            inner = bool(value)
            value, operator = outer.pop()
            if value is None:
                value = inner
            elif operator == "OR":
                value = value or inner
            else:
                value = value and inner != (operator == "NOT")
        elif value is not None and value == (operator == "OR"):
            at = closes + 1  # nothing can change it: true OR …, false AND …, false NOT …
        else:
            outer.append((value, operator))
            value = None
    return bool(value)


@functools.lru_cache(256)
def _compiled(query: str) -> list[_Step]:
    """The steps of a query. What is between brackets that match nothing is taken as far as it goes."""
    steps: list[_Step] = []
    opened: list[int] = []
    operator = "AND"
    at, text = 0, query.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            at += 1
            continue
        at = match.end()
        if match["op"]:
            operator = match["op"]
            continue
        if match["close"]:
            if not opened:
                break
            _close(steps, opened)
        elif match["open"]:
            opened.append(len(steps))
            steps.append((operator, None, 0))
        else:
            steps.append((operator, _term(match["term"]), 0))
        operator = "AND"
    while opened:
        _close(steps, opened)
    return steps


def _close(steps: list[_Step], opened: list[int]) -> None:
    """Close the bracket that was opened last."""
    begins = opened.pop()
    steps[begins] = (steps[begins][0], None, len(steps))
    steps.append(("AND", None, 0))


def _term(text: str) -> Test:
    """One word, phrase or range with its field."""
    span = _SPAN.match(text)
    parts = _PARTS.match(span["high"] if span else text)
    if parts is None:
        return lambda entry: False
    field = (parts["field"] or "").strip().lower().removesuffix(":noexp")
    field = _NAMES.get(field, field)
    if span:
        return _range(span["low"], parts["text"], field)
    wanted = parts["text"].strip().lower()
    if field in ("dp", "edat", "uid"):
        return _range(wanted, wanted, field)
    if field == "mh":
        return lambda entry: wanted in entry.mesh
    if field == "pt":
        return lambda entry: wanted in entry.types
    if field == "la":
        return lambda entry: any(wanted == code or wanted.startswith(code) for code in entry.languages)
    if wanted == "all" and field == "sb":
        return lambda entry: True
    stem = re.escape(wanted.rstrip("*")).replace(r"\ ", r"\s+")
    word = re.compile(rf"\b{stem}{'' if wanted.endswith('*') else chr(92) + 'b'}", re.IGNORECASE)
    if field == "ti":
        return lambda entry: bool(word.search(entry.title))
    return lambda entry: bool(
        word.search(entry.title) or word.search(entry.abstract) or (not field and wanted in entry.mesh)
    )


def _range(low: str, high: str, field: str) -> Test:
    low, high = low.strip(), high.strip()
    if field == "uid":
        if not (low.isdecimal() and high.isdecimal()):
            return lambda entry: False
        return lambda entry: int(low) <= entry.pmid <= int(high)
    first, last = low.replace("-", "/"), high.replace("-", "/")

    def test(entry: Entry) -> bool:
        day = f"{entry.published if field == 'dp' else entry.entered:%Y/%m/%d}"
        return first <= day and day[: len(last)] <= last

    return test
