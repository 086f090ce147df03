"""Right and wrong responses to questions, for training a verifier (`kind: verifier`).

A verifier that has only seen bare answers learns to look for the reference's words in the
response. So the responses are worded in several ways, and some name the right answer only to
deny it, or name every answer at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from residency.errors import RecipeInvalid
from residency.processing import Report, Row
from residency.recipe.suggest import closest

PLAIN: Mapping[str, str] = {
    "bare": "{said}",
    "sentence": "The answer is {said}.",
    "conclusion": "Taking the findings together, this is best answered with {said}.",
    "first": "{said}. This follows from what the question states.",
    "bold": "**Answer:** {said}",
}
"""Wordings that name one answer: right with the row's own, wrong with another."""
CONTRAST: Mapping[str, str] = {
    "contrast": "It is not {other}; the answer is {said}.",
    "denied": "The answer is {said}, not {other}.",
}
"""Wordings that name two and choose one; `{other}` is the reference in a wrong response."""
EVASIVE: Mapping[str, str] = {
    "every": "It is {said} or {other}.",
    "unknown": "I do not know the answer.",
}
"""Wordings that choose none, wrong for any reference."""
WORDINGS = (*PLAIN, *CONTRAST, *EVASIVE)


def make(
    rows: Iterator[Row],
    *,
    question: str = "question",
    answer: str = "answer",
    options: str = "options",
    each: int = 2,
    wordings: Sequence[str] = WORDINGS,
    seed: int = 7,
    report: Report | None = None,
) -> Iterator[Row]:
    """As many right as wrong responses for each question.

    A wrong response gives another of the row's options; a row without options, the answer of
    another row. The same rows and seed give the same pairs, in any order of the rows.

    Args:
        rows: Rows with a question and its answer.
        question: The column of the question; it is carried along and sets what is drawn.
        answer: The column of the answer: a text, or the letter of one of the options.
        options: The column of the options, where there is one: a list of texts, {letter: text},
            or [{letter, content}].
        each: Right responses a row, and wrong ones as many.
        wordings: Which wordings to use: bare, sentence, conclusion, first, bold, contrast, denied,
            every, unknown. Hold some out to measure with them.
        seed: Draws the wordings and the wrong answers.
        report: What was read, kept and dropped; notes count labels and wordings.

    Yields:
        {"question", "response", "reference", "label", "wording"}; a label of true is right.

    Raises:
        RecipeInvalid: a wording that does not exist, or none that can be right.
    """
    report = report or Report()
    right = [name for name in wordings if name in PLAIN or name in CONTRAST]
    _check(wordings, right)
    items: list[tuple[str, str, list[str]]] = []
    for number, row in enumerate(rows, 1):
        report.read += 1
        asked, reference, others = _item(row, question, answer, options)
        if not reference:
            report.drop(f"no `{answer}`", asked or f"row {number}")
            continue
        items.append((asked, reference, others))
    answers = sorted({reference for _, reference, _ in items})
    counts: dict[str, int] = {}
    for asked, reference, options_left in items:
        wrong = options_left or [other for other in answers if not _same(other, reference)]
        if not wrong:
            report.drop("no wrong answer is known", asked)
            continue
        for label in (True, False):
            for wording, response in _responses(
                asked, reference, wrong, right if label else wordings, label, each, seed
            ):
                counts[wording] = counts.get(wording, 0) + 1
                report.kept += 1
                yield {
                    "question": asked,
                    "response": response,
                    "reference": reference,
                    "label": label,
                    "wording": wording,
                }
    report.notes["labels"] = {"right": report.kept // 2, "wrong": report.kept // 2}
    report.notes["wordings"] = dict(sorted(counts.items()))


def _responses(
    asked: str,
    reference: str,
    wrong: Sequence[str],
    wordings: Sequence[str],
    label: bool,
    each: int,
    seed: int,
) -> Iterator[tuple[str, str]]:
    """`each` responses to one question with their wordings, different ones as long as there are any."""
    ranked = sorted(wordings, key=lambda name: _draw(seed, asked, reference, label, name))
    for index in range(each):
        wording = ranked[index % len(ranked)]
        other = wrong[_draw(seed, asked, reference, label, index, "other") % len(wrong)]
        said, beside = (reference, other) if label else (other, reference)
        if wording == "every" and _draw(seed, asked, index, "order") % 2:
            said, beside = beside, said
        text = {**PLAIN, **CONTRAST, **EVASIVE}[wording]
        yield wording, text.format(said=said, other=beside)


def _item(row: Row, question: str, answer: str, options: str) -> tuple[str, str, list[str]]:
    """(question, right answer, wrong options) of a row; an empty answer where there is none."""
    asked = str(row.get(question) or "").strip()
    given = row.get(answer)
    reference = str(given).strip() if isinstance(given, str | int | float) else ""
    choices = _choices(row.get(options))
    reference = choices.get(reference, reference)
    return asked, reference, [text for text in choices.values() if not _same(text, reference)]


def _choices(given: Any) -> dict[str, str]:
    """Letter → text of a row's options."""
    if isinstance(given, Mapping):
        return {str(key): str(value).strip() for key, value in given.items() if value}
    if not isinstance(given, list):
        return {}
    found = {}
    for index, item in enumerate(given):
        if isinstance(item, Mapping):
            found[str(item.get("letter", index))] = str(item.get("content", "")).strip()
        else:
            found[chr(ord("A") + index)] = str(item).strip()
    return {letter: text for letter, text in found.items() if text}


def _same(one: str, other: str) -> bool:
    return " ".join(one.lower().split()) == " ".join(other.lower().split())


def _check(wordings: Sequence[str], right: Sequence[str]) -> None:
    for name in wordings:
        if name not in WORDINGS:
            near = closest(name, WORDINGS)
            hint = f"did you mean `{near[0]}`? " if near else ""
            raise RecipeInvalid(f"there is no wording `{name}`", hint + "there are: " + ", ".join(WORDINGS))
    if not right:
        raise RecipeInvalid("none of the wordings can be right", "add `bare` or `sentence`")


def _draw(*parts: object) -> int:
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
