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


def matches(query: str, entry: Entry) -> bool:
    """Whether the query finds the record."""
    return _compiled(query)(entry)


@functools.lru_cache(256)
def _compiled(query: str) -> Test:
    tokens: list[tuple[str, str]] = []
    at = 0
    text = query.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            at += 1
            continue
        at = match.end()
        tokens.append((str(match.lastgroup), match[str(match.lastgroup)]))
    return _sequence(tokens, [0])


def _sequence(tokens: list[tuple[str, str]], at: list[int]) -> Test:
    """Terms from left to right, as PubMed takes them: `a OR b AND c` is `(a OR b) AND c`."""
    test: Test | None = None
    operator = "AND"
    while at[0] < len(tokens):
        kind, text = tokens[at[0]]
        at[0] += 1
        if kind == "close":
            break
        if kind == "op":
            operator = text
            continue
        right = _sequence(tokens, at) if kind == "open" else _term(text)
        test = right if test is None else _joined(test, operator, right)
        operator = "AND"
    return test or (lambda entry: False)


def _joined(left: Test, operator: str, right: Test) -> Test:
    if operator == "OR":
        return lambda entry: left(entry) or right(entry)
    if operator == "NOT":
        return lambda entry: left(entry) and not right(entry)
    return lambda entry: left(entry) and right(entry)


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
