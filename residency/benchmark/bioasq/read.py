"""BioASQ's JSON: gold files, training files and submissions.

What cannot be used is left out, counted and named; only a file that holds no questions at all is
an error. Numbers within answers are read as they are written, as the official evaluator does.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from residency.benchmark.problems import Problems
from residency.errors import Missing, RecipeInvalid

TYPES = ("yesno", "factoid", "list", "summary")
Answers = tuple[tuple[str, ...], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Snippet:
    """A passage of a document, by its character offsets, both inclusive."""

    document: str
    begin_section: str
    """`abstract`, `title`, `0`: what follows the first dot of `sections.0`."""
    end_section: str
    begin: int
    end: int
    text: str = ""

    @property
    def size(self) -> int:
        """Characters."""
        return self.end - self.begin + 1


@dataclass(frozen=True, slots=True)
class Question:
    """One question, or a system's reply to it."""

    id: str
    type: str | None
    """yesno, factoid, list or summary; None when it is none of them (submissions need not say)."""
    body: str = ""
    text: str | None = None
    """The exact answer where it is a text, as that of a yes/no question should be."""
    answers: Answers | None = None
    """The exact answer where it is a list: one tuple of synonyms an answer."""
    ideal: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    concepts: tuple[str, ...] = ()
    triples: tuple[tuple[str, str, str], ...] = ()
    """(subject, predicate, object)"""
    snippets: tuple[Snippet, ...] = ()

    @property
    def said(self) -> str | None:
        """yes or no; `none` for another text; None without one.

        As the official evaluator reads it: a text with "yes" in it, whatever its case, is yes,
        otherwise one with "no" in it is no. So "unknown" is no.
        """
        if self.text is None:
            return None
        low = self.text.lower()
        return "yes" if "yes" in low else "no" if "no" in low else "none"


@dataclass
class Batch:
    """A file of questions."""

    name: str
    questions: dict[str, Question] = field(default_factory=dict)
    """By id, in the order of the file."""
    problems: Problems = field(default_factory=Problems)


def load(path: Path, *, gold: bool = True) -> Batch:
    """Read a file, plain or gzipped; `gold` as in `parse`.

    Raises:
        Missing: There is no such file.
        RecipeInvalid: It is not BioASQ's JSON.
    """
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
        value = json.loads(raw.decode("utf-8-sig"), parse_float=str)
    except FileNotFoundError:
        raise Missing(
            f"there is no file {path}", "BioASQ's files come from participants-area.bioasq.org"
        ) from None
    except IsADirectoryError:
        raise RecipeInvalid(f"{path} is a folder", "name the JSON file in it") from None
    except (ValueError, EOFError, OSError, RecursionError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise RecipeInvalid(f"{path} is not JSON that can be read: {said}") from None
    return parse(value, path.name, gold=gold)


def parse(value: Any, name: str = "the file", *, gold: bool = True) -> Batch:
    """A batch from its JSON.

    Args:
        value: What the file holds.
        name: The file's name, for errors.
        gold: Right answers, not a system's. A plain list of texts for a factoid is then one answer
            with its synonyms; a system's is a list of answers, best first.

    Raises:
        RecipeInvalid: It has no list of questions.
    """
    rows = value.get("questions") if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise RecipeInvalid(
            f"{name} is not in BioASQ's form: it has no list of questions",
            'the form is {"questions": [{"id": …, "type": …, "body": …, "exact_answer": …}]}',
        )
    batch = Batch(name)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            batch.problems.add("no mapping; left out", f"question {number}")
            continue
        found = _text(row.get("id"))
        if not found:
            batch.problems.add("no id; left out", f"question {number}")
        elif found in batch.questions:
            batch.problems.add("an id that was there before; left out", found)
        else:
            batch.questions[found] = _question(found, row, batch.problems, gold)
    return batch


def _question(name: str, row: dict[str, Any], problems: Problems, gold: bool) -> Question:
    kind = row.get("type")
    if kind not in TYPES:
        if kind is not None:
            problems.add("an unknown type", f"{name} ({str(kind)[:30]})")
        kind = None
    text, answers = _exact(name, row, problems, synonyms=gold and kind == "factoid")
    ideal = row.get("ideal_answer")
    return Question(
        id=name,
        type=kind,
        body=_text(row.get("body")) or "",
        text=text,
        answers=answers,
        ideal=tuple(one for one in (ideal if isinstance(ideal, list) else [ideal]) if isinstance(one, str)),
        # The official evaluator drops what is named twice, of these two.
        documents=tuple(dict.fromkeys(_items(name, row, "documents", problems, _text))),
        concepts=tuple(dict.fromkeys(_items(name, row, "concepts", problems, _text))),
        triples=tuple(_items(name, row, "triples", problems, _triple)),
        snippets=tuple(_items(name, row, "snippets", problems, _snippet)),
    )


def _text(value: object) -> str | None:
    """A text, or a number as text."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _items(
    name: str, row: dict[str, Any], key: str, problems: Problems, read: Callable[[Any], T | None]
) -> Iterator[T]:
    value = row.get(key)
    if value is None:
        return
    if not isinstance(value, list):
        problems.add(f"{key} is no list; not read", name)
        return
    for item in value:
        found = read(item)
        if found is None:
            problems.add(f"an entry of {key} that cannot be read; left out", name)
            continue
        if isinstance(found, Snippet) and found.size < 1:
            problems.add("a snippet that ends before it begins; its size is 0 or less, as officially", name)
        yield found


def _triple(value: Any) -> tuple[str, str, str] | None:
    if not isinstance(value, dict):
        return None
    found = ["" if value.get(key) is None else _text(value[key]) for key in ("s", "p", "o")]
    subject, predicate, target = found
    if subject is None or predicate is None or target is None:
        return None
    return subject, predicate, target


def _snippet(value: Any) -> Snippet | None:
    """A snippet; what it does not say is "" or 0, as in the official evaluator."""
    if not isinstance(value, dict):
        return None
    names = [_text(value.get(key, "")) for key in ("document", "beginSection", "endSection", "text")]
    ends = [_whole(value.get(key, 0)) for key in ("offsetInBeginSection", "offsetInEndSection")]
    document, first, last, text = names
    begin, end = ends
    if document is None or first is None or last is None or begin is None or end is None:
        return None
    return Snippet(document, _after_dot(first), _after_dot(last), begin, end, text or "")


def _after_dot(section: str) -> str:
    return section[section.find(".") + 1 :]


def _whole(value: object) -> int | None:
    """A whole number, also as text or with `.0`."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        pass
    try:
        found = float(value)
        return int(found) if found == int(found) else None
    except (ValueError, OverflowError):
        return None


def _exact(
    name: str, row: dict[str, Any], problems: Problems, *, synonyms: bool
) -> tuple[str | None, Answers | None]:
    """The exact answer: as a text, or as lists of synonyms.

    An empty list of synonyms is passed over, so that the answer after it moves up a rank: the
    official evaluator does that. It cannot read a list of plain texts, which training files have.
    """
    value = row.get("exact_answer")
    if isinstance(value, str):
        return value, None
    if not isinstance(value, list):
        if value is not None:
            problems.add("exact_answer is neither text nor list; not read", name)
        return None, None
    found: list[tuple[str, ...]] = []
    flat: list[str] = []
    for item in value:
        texts = [_text(one) for one in item] if isinstance(item, list) else [_text(item)]
        kept = tuple(one for one in texts if one is not None)
        if len(kept) < len(texts):
            problems.add("an entry of exact_answer that is no text; left out", name)
        if kept and not isinstance(item, list):
            flat += kept
        if kept:
            found.append(kept)
    if flat:
        problems.add(
            "exact_answer is a list of texts, not of lists; "
            + ("read as synonyms of one answer" if synonyms else "each read as an answer"),
            name,
        )
        if synonyms and len(flat) == len(found):
            return None, (tuple(flat),)
    return None, tuple(found)
