"""How an answer is read: functions `(text, row) -> label or None` that a task, style or recipe names.

`row` has `labels`, the allowed answers, and `options`, {letter: text}, empty where labels are words.
A function of yours goes into any module of `processors.` or `rewards.`; it takes whatever a model may
write, and returns None, never a guess, for what it cannot read.

Strict readings (`tagged`, `whole`, `final_response`) ask for an answer in its place and nothing beside
it: a letter in running text is none. `lenient` reads what a person would take for the answer, in one
fixed order. A label that is not among the row's is unreadable for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from residency.engines.lm_eval.answers import within_tag
from residency.evaluation.choice import choice

Row = Mapping[str, Any]

_EDGE = " \t\r\n\f\v.,;:!?\"'`*_()[]"
_HEADING = re.compile(r"^[ \t]*#{1,6}[ \t]*final[ \t]+response[ \t]*:?[ \t]*$", re.IGNORECASE | re.MULTILINE)
_STATED = re.compile(r"\b(?:answer|option|choice)\b[ \t]*(?:is\b|:|=)[ \t:]*", re.IGNORECASE)
_LETTER = re.compile(r"[*_(\[\"'`]*(?:option[ \t]+|choice[ \t]+)?[*_(\[\"'`]*([A-Z])(?![\w'\u2019-])")
_ARTICLE = re.compile(r"[*_(\[\"'`]*[AI][ \t]+\w")
_SENTENCE = re.compile(r"[.;!?](?:\s|$)")
STATEMENTS = 20
"""Statements from the end that are looked at; a text with more repeats itself."""
LONGEST_TAIL = 400
"""Characters of a statement that are looked at: an option's text is no longer."""


def _read(text: str, row: Row) -> str | None:
    """The label that a whole text is."""
    options = row.get("options") or {}
    if options:
        return choice(text, options)
    said = " ".join(text.split()).casefold()
    return next((label for label in row["labels"] if " ".join(label.split()).casefold() == said), None)


def tagged(text: str, row: Row) -> str | None:
    """Strict: what stands within exactly one `<answer>…</answer>`, and nothing beside it there."""
    inside = within_tag(text)
    return None if inside is None else _read(inside, row)


def whole(text: str, row: Row) -> str | None:
    """Strict: the whole text is the answer. For a second request that asks for the letter alone."""
    return _read(text, row)


def final_response(text: str, row: Row) -> str | None:
    """Strict: what stands below the one heading `## Final Response` (HuatuoGPT-o1) is the answer."""
    below = _HEADING.split(text)
    return _read(below[1], row) if len(below) == 2 else None


def lenient(text: str, row: Row) -> str | None:
    """What a person would take for the answer; the first of these that gives one.

    Below the last `## Final Response`, and where that gives none, in the whole text: within the last
    answer tag, be it closed or not; the whole of it; the last statement of the form "the answer is X";
    the first line, the last line.
    """
    parts = _HEADING.split(text)
    found = _lenient(parts[-1], row) if len(parts) > 1 else None
    return found if found is not None else _lenient(text, row)


def _lenient(text: str, row: Row) -> str | None:
    inside = within_tag(text, mode="lenient")
    if inside is not None:
        return _bare(inside, row) or _stated(inside, row)
    found = _bare(text, row)
    if found is not None:
        return found
    stated, said = _last_statement(text, row)
    if stated:
        return said
    lines = [line for line in text.splitlines() if line.strip()]
    for line in (lines[0], lines[-1]) if lines else ():
        found = _bare(line, row)
        if found is not None:
            return found
    return None


def _bare(text: str, row: Row) -> str | None:
    """The label that a text is, with or without punctuation around it."""
    found = _read(text, row)
    return found if found is not None else _read(text.strip(_EDGE), row)


def _stated(text: str, row: Row) -> str | None:
    return _last_statement(text, row)[1]


def _last_statement(text: str, row: Row) -> tuple[bool, str | None]:
    """Whether a text states an answer ("the answer is …"), and what the last such statement says."""
    for found in reversed(list(_STATED.finditer(text))[-STATEMENTS:]):
        line = text[found.end() : found.end() + LONGEST_TAIL].partition("\n")[0]
        sentence = _SENTENCE.split(line, maxsplit=1)[0]
        label = _bare(line, row) or _bare(sentence, row)
        if label is not None:
            return True, label
        letter = _LETTER.match(line) if row.get("options") else None
        if letter is not None and not _ARTICLE.match(line):
            # A letter that is no option is a statement all the same: what came before is withdrawn.
            return True, letter[1] if letter[1] in row["options"] else None
    return False, None


def first_letter(text: str, row: Row) -> str | None:
    """The first letter that stands alone, after " answer is " if that is said: MedXpertQA's own reading.

    It takes the article "A" for option A; for comparison with published figures only.
    """
    after = text.rpartition(" answer is ")[2]
    letters = "|".join(re.escape(letter) for letter in row["labels"])
    found = re.search(rf"\b({letters})\b", after)
    return found[1] if found else None
