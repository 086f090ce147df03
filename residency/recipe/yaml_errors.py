"""YAML syntax errors in the user's words: what is wrong, where, and what to write instead.

The parser says where it could not go on ("could not find expected ':'" at the start of the
next line). What the user did wrong is usually a little earlier and is read from the text.
Lines and columns count from 0 here, as the parser's marks do.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

Place = tuple[int, int, int]
"""Line, column, column behind the end; all on one line."""

_NO_SPACE = re.compile(r"\s*(?:- +)*([\w.-]+):(?!//)[^\s:]")
_KEY = re.compile(r"\s*(?:- +)*[\w./-]+ *:(?:\s|$)")
_WORD = re.compile(r"\s*(?:- +)*([\w.-]+)(?:\s+(\S.*))?$")
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>")


@dataclass(frozen=True, slots=True)
class ParserError:
    """What the YAML parser said."""

    problem: str
    line: int
    column: int
    context: str
    context_line: int
    context_column: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """One syntax error, explained."""

    message: str
    place: Place
    hint: str | None = None
    code: str = "yaml-syntax"
    note: tuple[str, Place] | None = None
    insert_space: tuple[int, int] | None = None
    """Where a space mends it, so that reading can go on as if it had been there."""
    stop: bool = False
    """True when nothing behind this mistake can be read."""


def explain(error: ParserError, lines: Sequence[str], quoted: Place | None) -> Explanation:
    """Explain a parser's error.

    Args:
        error: What the parser said.
        lines: The text.
        quoted: Where the last quoted text before the error opened and how it ended: line and
            column of its opening quote, and the line of its closing one; None without any.
    """
    problem = error.problem.lower()
    for rule in (_conflict, _characters, _missing_space, _quotes, _brackets, _nested_values):
        found = rule(error, problem, lines, quoted)
        if found is not None:
            return found
    return _structure(error, problem, lines)


def _line(lines: Sequence[str], number: int) -> str:
    return lines[number] if 0 <= number < len(lines) else ""


def _indent(text: str) -> int:
    return len(text) - len(text.lstrip())


def _spaces(count: int) -> str:
    return "1 space" if count == 1 else f"{count} spaces"


def _whole(lines: Sequence[str], number: int) -> Place:
    """A line without its indentation."""
    text = _line(lines, number).rstrip()
    return number, _indent(text), max(len(text), _indent(text) + 1)


def _before(lines: Sequence[str], number: int) -> int:
    """The last line before that is neither blank nor a comment; -1 when there is none."""
    number = min(number, len(lines)) - 1
    while number >= 0 and (not lines[number].strip() or lines[number].lstrip().startswith("#")):
        number -= 1
    return number


def _conflict(
    error: ParserError, problem: str, lines: Sequence[str], quoted: Place | None
) -> Explanation | None:
    for number in range(max(0, error.line - 2), min(len(lines), error.line + 2)):
        if lines[number].startswith(_CONFLICT[0]) or lines[number].startswith(_CONFLICT[2]):
            return Explanation(
                "a merge conflict was left in this file",
                (number, 0, 7),
                "keep one of the two versions and delete the lines <<<<<<<, ======= and >>>>>>>",
                stop=True,
            )
    return None


def _characters(
    error: ParserError, problem: str, lines: Sequence[str], quoted: Place | None
) -> Explanation | None:
    """Characters that cannot stand where they stand."""
    line, column = error.line, error.column
    text = _line(lines, line)
    here = text[column : column + 1]
    if here == "\t" and ("tab" in problem or "cannot start any token" in problem):
        if text[:column].strip():
            return Explanation(
                "a tab stands where YAML allows only spaces",
                (line, column, column + 1),
                "replace the tab by a space",
                code="yaml-tab",
            )
        end = _indent(text)
        return Explanation(
            "a tab is used for indentation",
            (line, text.index("\t"), max(end, column + 1)),
            "YAML allows only spaces there; replace each tab by two spaces",
            code="yaml-tab",
        )
    if "cannot start any token" in problem and here:
        rest = text[column:].rstrip()
        return Explanation(
            f"an unquoted value cannot start with {'a backtick' if here == '`' else f'`{here}`'}",
            (line, column, column + 1),
            f'put it in quotes: "{rest}"' if '"' not in rest else f"put it in quotes: '{rest}'",
        )
    if "undefined tag handle" in problem:
        end = column + len(text[column:].split(maxsplit=1)[0]) if text[column:].strip() else column + 1
        return Explanation(
            "tags are not allowed in a recipe",
            (line, column, end),
            "put text that starts with `!` in quotes",
            code="yaml-tag",
        )
    if "escape" in problem and "scalar" in error.context:
        start = column if here == "\\" else max(0, column - 1)
        return Explanation(
            f"`{text[start : start + 2]}` is no escape that double quotes know",
            (line, start, start + 2),
            "write \\\\ for a backslash, or use single quotes, where a backslash is only a backslash",
        )
    if "alphabetic or numeric" in problem:
        word = "an alias" if "alias" in error.context else "an anchor"
        mark = "*" if "alias" in error.context else "&"
        return Explanation(
            f"`{mark}` starts {word}, which needs a name",
            (error.context_line, error.context_column, error.context_column + 1),
            f"put text that starts with `{mark}` in quotes",
        )
    if "block scalar" in error.context:
        start = error.context_column
        value = _line(lines, error.context_line)[start:].rstrip()
        return Explanation(
            f"after `{value[:1]}` the text must start on the next line",
            (error.context_line, start, start + max(1, len(value))),
            f'if `{value[:1]}` belongs to the value, put it in quotes: "{value}"',
        )
    return None


def _missing_space(
    error: ParserError, problem: str, lines: Sequence[str], quoted: Place | None
) -> Explanation | None:
    """`key:value`, which YAML takes for one word."""
    if "expected ':'" in problem:
        candidates = [error.context_line]
    elif "mapping values are not allowed" in problem:
        candidates = [error.line, _before(lines, error.line)]
    elif "expected key" in problem or "block end" in problem:
        candidates = [error.line]
    else:
        return None
    for number in candidates:
        match = _NO_SPACE.match(_line(lines, number))
        if match:
            colon = match.end(1)
            rest = _line(lines, number)[colon + 1 :].strip()
            return Explanation(
                "a space is missing after the colon",
                (number, match.start(1), colon + 1),
                f"write `{match[1]}: {rest}`",
                insert_space=(number, colon + 1),
            )
    return None


def _quotes(
    error: ParserError, problem: str, lines: Sequence[str], quoted: Place | None
) -> Explanation | None:
    """A quote that is not closed, or closed too early."""
    if "quoted scalar" in error.context:
        line, column = error.context_line, error.context_column
        mark = _line(lines, line)[column : column + 1] or '"'
        return Explanation(
            f"this quote ({mark}) is never closed",
            (line, column, column + 1),
            f"add a {mark} where the text ends",
        )
    if quoted is None or not ("expected key" in problem or "block end" in problem or "',' or" in problem):
        return None
    opened, column, closed = quoted
    if closed != error.line:
        return None
    mark = _line(lines, opened)[column : column + 1]
    if opened < closed:
        return Explanation(
            f"this quote ({mark}) is not closed on its line",
            (opened, column, column + 1),
            f"add a {mark} where the text ends",
            note=("the text in quotes ends only here", (error.line, error.column, error.column + 1)),
        )
    if "',' or" in problem or error.column == _indent(_line(lines, error.line)):
        return None
    inside = "double it ('')" if mark == "'" else 'write it as \\"'
    return Explanation(
        "text follows the closing quote",
        (error.line, error.column, max(error.column + 1, len(_line(lines, error.line).rstrip()))),
        f"put the whole value in quotes; for a {mark} inside the text, {inside}",
    )


def _last_open(lines: Sequence[str], line: int, column: int) -> tuple[int, int] | None:
    """Line and column of the innermost bracket that is open at a place, quotes not looked at."""
    open_at: list[tuple[int, int]] = []
    for number in range(min(line + 1, len(lines))):
        text = lines[number][:column] if number == line else lines[number]
        for position, character in enumerate(text):
            if character in "[{":
                open_at.append((number, position))
            elif character in "]}" and open_at:
                open_at.pop()
    return open_at[-1] if open_at else None


def _brackets(
    error: ParserError, problem: str, lines: Sequence[str], quoted: Place | None
) -> Explanation | None:
    """Lists in [ ] and mappings in { }."""
    text = _line(lines, error.line)
    here = text[error.column : error.column + 1]
    if "flow" in error.context:
        opened_at = error.context_line, error.context_column
        if _line(lines, opened_at[0])[opened_at[1] : opened_at[1] + 1] not in ("[", "{"):
            # The parser names the place where it wanted an entry.
            opened_at = _last_open(lines, error.line, error.column) or opened_at
        opening = _line(lines, opened_at[0])[opened_at[1] : opened_at[1] + 1]
        closing = "]" if opening == "[" else "}"
        if here == "{" and text[max(0, error.column - 1) : error.column] == "$":
            return Explanation(
                f"an interpolation inside {opening} {closing} must be in quotes",
                (error.line, error.column - 1, error.column + 1),
                'write "${…}" with the quotes',
            )
        place = (error.line, error.column, error.column + 1)
        opened = (*opened_at, opened_at[1] + 1)
        if not here or (error.line > opened_at[0] and (_KEY.match(text) or here == ":")):
            return Explanation(
                f"this `{opening}` is never closed",
                opened,
                f"add a `{closing}` where it ends",
                note=("it was still open here", place) if here else None,
            )
        return Explanation(
            f"a `,` or `{closing}` is missing before this",
            place,
            note=(f"the `{opening}` opened here", opened),
        )
    if here and here in "]}" and ("expected" in problem):
        return Explanation(
            f"this `{here}` closes nothing",
            (error.line, error.column, error.column + 1),
            f"remove it, or put text that holds `{here}` in quotes",
        )
    return None


def _nested_values(
    error: ParserError, problem: str, lines: Sequence[str], quoted: Place | None
) -> Explanation | None:
    """A `: ` where no key can be."""
    if "entries are not allowed" in problem:
        return Explanation(
            "a list cannot start on the line of its key",
            (error.line, error.column, error.column + 1),
            "start each item on a line of its own, or write the list as [a, b]",
        )
    if "mapping values are not allowed" not in problem:
        return None
    text = _line(lines, error.line)
    head = text[: error.column]
    before = _before(lines, error.line)
    if re.search(r":\s", head):
        start = re.search(r":\s+", head)
        at = start.end() if start else 0
        value = text[at:].rstrip()
        quote = "'" if '"' in value else '"'
        return Explanation(
            "a value that holds `: ` must be in quotes",
            (error.line, error.column, error.column + 1),
            f"write {quote}{value}{quote}",
        )
    if before >= 0 and _KEY.match(lines[before]):
        return Explanation(
            "this line is indented deeper than the key above it, which already has a value",
            _whole(lines, error.line),
            f"indent it as the line above, by {_spaces(_indent(lines[before]))}",
            note=("the line above", _whole(lines, before)),
        )
    if before >= 0 and _indent(lines[before]) >= _indent(text) and _WORD.match(lines[before]):
        return _no_colon(before, lines)
    return Explanation(
        "a key cannot stand here",
        _whole(lines, error.line),
        "check the indentation of this line and of the one above",
    )


def _no_colon(number: int, lines: Sequence[str]) -> Explanation:
    """A line that is no `key: value`."""
    match = _WORD.match(_line(lines, number))
    hint = "each line of a mapping is `key: value`"
    if match:
        hint = f"write `{match[1]}: {match[2]}`" if match[2] else f"write `{match[1]}:` and its value"
    return Explanation("a colon is missing on this line", _whole(lines, number), hint)


def _structure(error: ParserError, problem: str, lines: Sequence[str]) -> Explanation:
    """Lines that do not fit the block they stand in."""
    if "expected ':'" in problem:
        return _no_colon(error.context_line, lines)
    text = _line(lines, error.line)
    here = text[error.column : error.column + 1]
    at_start = error.column == _indent(text)
    if "'-' indicator" in problem or ("block end" in problem and "collection" in error.context):
        return Explanation(
            "this line stands among the items of a list but is no item",
            _whole(lines, error.line),
            "start it with `- `, or set its indentation so that it belongs to the block above",
        )
    if at_start and here == "-" and ("expected key" in problem or "block end" in problem):
        return Explanation(
            "a list item stands among the keys of a mapping",
            _whole(lines, error.line),
            "give the list a key, or indent the item under the key that it belongs to",
        )
    if at_start and ("expected key" in problem or "block end" in problem):
        return Explanation(
            f"the indentation of this line ({_spaces(_indent(text))}) fits no block above it",
            _whole(lines, error.line),
            "keys of one mapping must stand in the same column",
        )
    if "document start" in problem:
        return Explanation(
            "this text stands after the end of the document",
            _whole(lines, error.line),
            "a recipe is one mapping of `key: value` lines",
        )
    place = (error.line, error.column, error.column + 1)
    return Explanation(f"this is not valid YAML: {error.problem}", place)
