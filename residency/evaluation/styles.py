"""Prompt styles: ways of asking, as data. Read from recipes/prompts/NAME.yaml or from a recipe's `prompt:`.

A template is text with names in braces: `{question}`. `{{` and `}}` are braces. Beside the names of
FIELDS, `{row.NAME}` is a field of the row itself.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from residency.recipe.suggest import did_you_mean

FOLDER = Path("recipes") / "prompts"
"""Where the project's own styles lie, below the project."""

FIELDS = {
    "question": "the question, without its options",
    "context": "the evidence: the row's `context` or `input`",
    "asked": "all that is asked without a template: the question, its evidence, its options",
    "options": "the options, each as `option:` says; the allowed answers where a row has no options",
    "letters": "A, B, C, D",
    "first": "the first letter",
    "last": "the last letter",
}
"""What a template may name, and what it becomes."""
OF_OPTIONS = frozenset(("options", "letters", "first", "last"))
"""Those that a question without options, or allowed answers, does not have."""
ANSWER_FIELDS = {"label": "the right letter", "answer": "the right option's text"}
"""What the template of an example's answer may name besides."""
OPTION_FIELDS = {"letter": "its letter", "text": "its text"}
ROW = "row."

TEMPLATES = {
    "system": FIELDS,
    "question": FIELDS,
    "then": FIELDS,
    "example": {**FIELDS, **ANSWER_FIELDS},
    "option": OPTION_FIELDS,
}
"""Keys of a style that are templates, and the names that each may hold."""


Problem = tuple[str, str, str | None]
"""Key, what is wrong, what to do."""


class BadStyle(ValueError):
    """A style that cannot be used: what is wrong, by key.

    `problems` are (key, text, hint); a key of "" is the style as a whole.
    """

    def __init__(self, problems: list[Problem], where: str = "") -> None:
        self.problems = problems
        said = [f"{key}: {text}" if key else text for key, text, _ in problems]
        super().__init__(f"{where}: {'; '.join(said)}" if where else "; ".join(said))


@dataclass(frozen=True, slots=True)
class Style:
    """One way of asking. What is left out is as the row has it."""

    description: str = ""
    """What it is for."""
    system: str | None = None
    """Template of the system message; None: the row's own; "": none."""
    question: str | None = None
    """Template of the question; None: the row's question, and its evidence below it."""
    option: str = "({letter}) {text}"
    """Template of one option."""
    between: str = "\n"
    """Between two options."""
    book: str = "row"
    """`open`: each row must have evidence; `closed`: evidence is left out; `row`: as the row has it."""
    passages: int | None = None
    """At most so many passages of evidence."""
    shots: int = 0
    """Examples before the question."""
    examples: str | None = None
    """The file that they are drawn from, rows of the task's own form."""
    seed: int = 0
    """Of their drawing."""
    example: str = "<answer>{label}</answer>"
    """Template of an example's answer."""
    turns: bool = True
    """Examples as turns of the conversation; false: all in the one message of the question."""
    then: str | None = None
    """Template of a second request, after the model's reasoning, that asks for the answer alone."""
    max_tokens: int | None = None
    """Tokens of the answer (of the reasoning, where there is a second request); None: the task's own."""
    then_tokens: int = 16
    """Tokens of the answer to the second request."""
    chat: bool | None = None
    """Whether the model's chat template is applied; None: as `lm_eval.apply_chat_template` says."""
    strict: str | None = None
    """Dotted path of the strict reading; None: the task's own."""
    lenient: str | None = None
    """Dotted path of the lenient reading; None: the task's own."""


KEYS = {field.name: field for field in fields(Style)}
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("shots", "seed", "then_tokens", "max_tokens", "passages"), (int,)),
    **dict.fromkeys(("turns", "chat"), (bool,)),
}
_LEAST = {"max_tokens": 1, "then_tokens": 1, "passages": 1, "shots": 0, "seed": 0}
BOOKS = ("open", "closed", "row")


def style(given: Mapping[str, Any], where: str = "") -> Style:
    """A style from its keys.

    Raises:
        BadStyle: All that is wrong with it at once.
    """
    problems = [*key_problems(given), *joint_problems(given)]
    if problems:
        raise BadStyle(problems, where)
    return Style(**given)


def key_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with each key for itself."""
    for key, value in given.items():
        if key not in KEYS:
            yield key, "a style has no such key", did_you_mean(key, KEYS) or f"there are {', '.join(KEYS)}"
        elif value is None and KEYS[key].default is None:
            continue
        elif (wanted := _TYPES.get(key, (str,))) and (
            not isinstance(value, wanted) or (wanted == (int,) and isinstance(value, bool))
        ):
            names = {"str": "a text", "int": "a whole number", "bool": "true or false"}
            yield key, f"it is {value!r:.40}, and must be {names[wanted[0].__name__]}", None
        elif key in _LEAST and value < _LEAST[key]:
            yield key, f"it is {value}, and must be at least {_LEAST[key]}", None
        elif key == "book" and value not in BOOKS:
            yield key, f"it is {value!r}, and must be one of {', '.join(BOOKS)}", did_you_mean(value, BOOKS)
        elif key in TEMPLATES:
            yield from ((key, text, hint) for text, hint in template_problems(value, TEMPLATES[key]))


def joint_problems(given: Mapping[str, Any]) -> Iterator[Problem]:
    """What is wrong with keys together."""
    shots = given.get("shots", 0)
    if isinstance(shots, int) and shots > 0 and not given.get("examples"):
        yield "shots", f"{shots} examples are asked for, and no file of them is named", "add `examples: PATH`"
    question = given.get("question")
    named = set(names(question)) if isinstance(question, str) else None
    if named is not None and not named & {"question", "asked"}:
        yield "question", "it has no {question}, so that nothing would be asked", None
    if named is not None and given.get("book") == "open" and not named & {"context", "asked"}:
        yield "question", "the style is `book: open`, and {context} stands nowhere in it", None
    if given.get("book") == "closed" and given.get("passages") is not None:
        yield "passages", "`book: closed` leaves all evidence out", None


def template_problems(template: str, allowed: Mapping[str, str]) -> Iterator[tuple[str, str | None]]:
    """What is wrong with a template: (text, hint)."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        yield f"its braces cannot be read: {error}", "write `{{` and `}}` for braces"
        return
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if spec or conversion:
            yield (
                f"{{{name}…}} has a format, and only names can stand there",
                "write `{{` and `}}` for braces",
            )
        elif name.startswith(ROW) and name[len(ROW) :].isidentifier():
            continue
        elif name not in allowed:
            shown = ", ".join(f"{{{one}}}" for one in allowed)
            hint = did_you_mean(name, allowed) or f"there are {shown}, and {{row.NAME}} for a row's field"
            yield f"{{{name}}} is no field of a prompt", hint


def names(template: str) -> list[str]:
    """The names in a template."""
    try:
        return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError:
        return []


def of_options(given: Style) -> set[str]:
    """The names in a style that only a question with options, or allowed answers, has."""
    return {name for key in TEMPLATES for name in names(getattr(given, key) or "")} & OF_OPTIONS


def row_fields(given: Style) -> set[str]:
    """The fields of a row that a style names by `{row.NAME}`."""
    texts = [getattr(given, key) or "" for key in TEMPLATES]
    return {name[len(ROW) :] for text in texts for name in names(text) if name.startswith(ROW)}


# ---- files


def own(project: Path) -> dict[str, Path]:
    """The project's own styles: name → file."""
    return {path.stem: path for path in sorted((project / FOLDER).glob("*.yaml"))}


def file_of(name: str, starts: tuple[Path, ...], project: Path) -> Path | None:
    """The file of a style, the project's own by its name or a YAML file by its path; None without one."""
    if name in (mine := own(project)):
        return mine[name]
    if name.endswith((".yaml", ".yml")):
        return next(((start / name).absolute() for start in starts if (start / name).is_file()), None)
    return None


def read(path: Path) -> dict[str, Any]:
    """The keys of a style's file.

    Raises:
        BadStyle: It is no YAML mapping.
    """
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadStyle([("", " ".join(str(error).split()), None)], str(path)) from None
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise BadStyle([("", "a style is a mapping", None)], str(path))
    return found


def keys_of(given: str | Mapping[str, Any] | None, starts: tuple[Path, ...], project: Path) -> dict[str, Any]:
    """The keys of a recipe's `prompt:`, those of the style that it names under its own.

    Args:
        given: A style's name or path, or a mapping with `style:` and keys of its own.
        starts: Folders at which a relative path may start.
        project: The folder that holds recipes/prompts/.

    Raises:
        BadStyle: There is no such style, or its file cannot be read.
    """
    own_keys = dict(given) if isinstance(given, Mapping) else {}
    name = given if isinstance(given, str) else own_keys.pop("style", None)
    if name is None:
        return own_keys
    path = file_of(str(name), starts, project)
    if path is None:
        known = own(project)
        hint = did_you_mean(str(name), known) or f"there are {', '.join(known)}; or name a YAML file"
        raise BadStyle([("style", f"there is no prompt style `{name}`", hint)])
    return {**read(path), **own_keys}
