"""Messages of a question and a style, the same for every engine, and the hash over them.

A question is what `residency.evaluation.choices.item` gives, or a row in alpaca form in the same
shape: `id`, `system`, `question`, `context`, `options`, `labels`, `answer`, `row`.
"""

from __future__ import annotations

import hashlib
import json
import random
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from residency.evaluation.choices import BadRow
from residency.evaluation.styles import OF_OPTIONS, ROW, Style, names

Message = dict[str, str]
Question = Mapping[str, Any]

BETWEEN_PASSAGES = "\n\n"
AFTER = {"system": "\n\n", "user": "\n", "assistant": "\n\n"}
"""What ends a message where no chat template parts them."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for one question."""

    messages: tuple[Message, ...]
    """The first request; the last message is the user's."""
    then: str | None = None
    """The user's message of a second request, after the model's answer to the first."""


def render(question: Question, style: Style, examples: Sequence[Question] = ()) -> Asked:
    """A question in a style.

    Args:
        question: What is asked.
        style: How.
        examples: Those that come before it, in order (`Examples.of`).

    Raises:
        BadRow: The style needs what the row does not have: evidence, or a field of its own.
    """
    system = question["system"] if style.system is None else _fill(style.system, question, style)
    turns: list[Message] = []
    for one in examples:
        turns.append({"role": "user", "content": _asked(one, style)})
        turns.append({"role": "assistant", "content": _fill(style.example, one, style)})
    turns.append({"role": "user", "content": _asked(question, style)})
    if not style.turns:
        turns = [{"role": "user", "content": text(turns).rstrip("\n")}]
    start = [{"role": "system", "content": system}] if system.strip() else []
    then = None if style.then is None else _fill(style.then, question, style)
    return Asked((*start, *turns), then)


def second(asked: Asked, answer: str) -> tuple[Message, ...]:
    """The messages of the second request, with the model's answer to the first between."""
    if asked.then is None:
        raise ValueError("the style makes one request only")
    reply = {"role": "assistant", "content": answer}
    return (*asked.messages, reply, {"role": "user", "content": asked.then})


def text(messages: Iterable[Message]) -> str:
    """Messages as one text, for a model that is asked without a chat template."""
    return "".join(message["content"] + AFTER[message["role"]] for message in messages)


def prompt_hash(asked: Iterable[Asked | Sequence[Message]]) -> str:
    """SHA-256 over the messages of all questions in their order, before any chat template.

    So it is the same on every engine. A second request counts by its own message; the model's
    answer before it does not.
    """
    digest = hashlib.sha256()
    for one in asked:
        value = one if isinstance(one, Asked) else Asked(tuple(one))
        row: list[Any] = [[[message["role"], message["content"]] for message in value.messages]]
        if value.then is not None:
            row.append(value.then)
        digest.update(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    return digest.hexdigest()


def _asked(question: Question, style: Style) -> str:
    """The user's message."""
    return _plain(question, style) if style.question is None else _fill(style.question, question, style)


def _plain(question: Question, style: Style) -> str:
    """All that is asked, as the row has it."""
    parts = [question["question"], _evidence(question, style)]
    if question["options"]:
        parts.append(_options(question, style))
    return "\n".join(part for part in parts if part.strip())


def _evidence(question: Question, style: Style) -> str:
    if style.book == "closed":
        return ""
    passages = question["context"]
    if style.book == "open" and not passages:
        raise BadRow("it has no evidence (`context`), and the prompt is `book: open`", "no evidence")
    return BETWEEN_PASSAGES.join(passages[: style.passages])


def _options(question: Question, style: Style) -> str:
    if not question["options"]:
        return ", ".join(question["labels"])
    pairs = question["options"].items()
    return style.between.join(
        _put(style.option, {"letter": letter, "text": option}) for letter, option in pairs
    )


def _fill(template: str, question: Question, style: Style) -> str:
    """A template with its names filled in. Raises BadRow for a field that the row does not have."""
    labels = list(question["labels"])
    if not labels and (lost := set(names(template)) & OF_OPTIONS):
        raise BadRow(f"it has no options, and the prompt names {{{min(lost)}}}", "no options")
    values = {
        "question": question["question"],
        "asked": _plain(question, style),
        "context": _evidence(question, style),
        "options": _options(question, style),
        "letters": ", ".join(labels),
        "first": labels[0] if labels else "",
        "last": labels[-1] if labels else "",
        "label": question["answer"],
        "answer": question["options"].get(question["answer"], question["answer"]),
    }
    for name in names(template):
        if name.startswith(ROW):
            values[name] = _field(question["row"], name[len(ROW) :])
    return _put(template, values)


def _field(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None or value == "":
        raise BadRow(f"it has no field `{name}`, which the prompt names", "a field that the prompt names")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _put(template: str, values: Mapping[str, str]) -> str:
    """The template with each name replaced, once: braces in a value stay as they are."""
    return "".join(
        literal + ("" if name is None else values[name])
        for literal, name, _, _ in string.Formatter().parse(template)
    )


class Examples:
    """Questions with their answers, drawn with a seed from a file that is not the test.

    The order is drawn once; each question gets the first `shots` of it that are not itself, so that
    all prompts of a set begin alike.
    """

    def __init__(self, questions: Sequence[Question], style: Style) -> None:
        self.shots = style.shots
        self.drawn = list(questions)
        random.Random(style.seed).shuffle(self.drawn)
        self.left_out = 0
        """How often an example was left out since it was the question itself."""

    def of(self, question: Question) -> list[Question]:
        """The examples for a question, never one with its id or its text.

        Raises:
            BadRow: There are too few.
        """
        if not self.shots:
            return []
        key = _key(question)
        chosen: list[Question] = []
        for one in self.drawn:
            if (one["id"] == question["id"] and one["row"].get("id")) or _key(one) == key:
                self.left_out += 1
                continue
            chosen.append(one)
            if len(chosen) == self.shots:
                return chosen
        raise BadRow(
            f"{self.shots} examples are asked for, and {len(chosen)} are there that are not the question "
            "itself",
            "too few examples",
        )


def _key(question: Question) -> str:
    return " ".join(f"{question['question']} {' '.join(question['context'])}".split()).casefold()
