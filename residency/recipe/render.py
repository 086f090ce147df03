"""Diagnostics as text: what is wrong, the line where it stands, a caret under it, what to do."""

from __future__ import annotations

import unicodedata

from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.nodes import Span

TAB = 4
"""Columns between tab stops in a snippet."""
WIDTH = 100
"""Columns of a snippet; of a longer line the part around the caret is shown."""
_CUT = "…"
_RESET = "\x1b[0m"
_BOLD = "\x1b[1m"
_RED = "\x1b[1;31m"
_YELLOW = "\x1b[1;33m"
_BLUE = "\x1b[1;34m"
_GREEN = "\x1b[1;32m"


def render(found: Diagnostics, *, color: bool = False, width: int = WIDTH) -> str:
    """Every diagnostic in the order of the text, and a last line that counts them.

    Args:
        found: The diagnostics and the texts that they point into; where a text is missing, there
            is no snippet.
        color: True to colour it with ANSI escapes.
        width: Columns that a snippet may take.
    """
    lines = {file: text.splitlines() for file, text in found.sources.items()}
    paint = _Paint(color)
    blocks = [_one(item, lines, paint, width) for item in found]
    return "\n\n".join([*blocks, summary(found)])


def summary(found: Diagnostics) -> str:
    """`3 errors, 1 warning`."""
    errors = sum(item.severity == "error" for item in found.items)
    warnings = len(found.items) - errors
    parts = []
    if errors or not warnings:
        parts.append(_count(errors, "error"))
    if warnings:
        parts.append(_count(warnings, "warning"))
    return ", ".join(parts)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


class _Paint:
    """Colours a text, or leaves it."""

    def __init__(self, color: bool) -> None:
        self._color = color

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{_RESET}" if self._color else text


def _one(item: Diagnostic, lines: dict[str, list[str]], paint: _Paint, width: int) -> str:
    tone = _RED if item.severity == "error" else _YELLOW
    spans = [item.span, *(span for _, span in item.notes)]
    gutter = max(len(str(span.line)) for span in spans)
    out = [
        paint(tone, f"{item.severity}[{item.code}]") + paint(_BOLD, f": {_clean(item.message)}"),
        *_place(item.span, lines, gutter, paint, tone, "^", width),
    ]
    for text, span in item.notes:
        out.append(f"{' ' * gutter} {paint(_BLUE, '=')} note: {_clean(text)}")
        out.extend(_place(span, lines, gutter, paint, _BLUE, "-", width))
    if item.hint:
        out.append(f"{' ' * gutter} {paint(_BLUE, '=')} {paint(_GREEN, 'hint')}: {_clean(item.hint)}")
    return "\n".join(out)


def _place(
    span: Span, lines: dict[str, list[str]], gutter: int, paint: _Paint, tone: str, mark: str, width: int
) -> list[str]:
    """Where it is, and the line with a mark under it when its text is known."""
    option = span.file.startswith("--")
    where = f"command line, {span.file}" if option else f"{span.file}:{span.line}:{span.column}"
    out = [f"{' ' * gutter}{paint(_BLUE, '-->')} {_clean(where)}"]
    text = lines.get(span.file, [])
    if not 0 < span.line <= len(text):
        return out
    line = text[span.line - 1]
    last = span.end_column if span.end_line == span.line else len(line.rstrip()) + 1
    shown, start, length = _window(line, span.column - 1, max(last, span.column + 1) - 1, width)
    bar = paint(_BLUE, "|")
    return [
        *out,
        f"{' ' * gutter} {bar}",
        f"{paint(_BLUE, str(span.line).rjust(gutter))} {bar} {shown}".rstrip(),
        f"{' ' * gutter} {bar} {' ' * start}{paint(tone, mark * length)}",
    ]


def _window(line: str, start: int, end: int, width: int) -> tuple[str, int, int]:
    """The line as a terminal shows it, the column of the mark, and the mark's length.

    Args:
        line: The text.
        start: The first marked character, from 0.
        end: The character behind the last marked one; may lie behind the line's end.
        width: The columns that may be taken.
    """
    cells = _cells(line)
    total = sum(size for _, size in cells)
    first = sum(size for _, size in cells[:start]) + max(0, start - len(cells))
    marked = max(1, sum(size for _, size in cells[start:end]))
    if total <= width:
        return "".join(text for text, _ in cells), first, marked
    # Some of what stands before the mark tells where it is; the rest of the room is for behind.
    left = 0 if first + min(marked, width // 2) + 1 < width else max(0, first - width // 3)
    shown, column = "", 0
    for text, size in cells:
        if column >= left and column + size <= left + width - 1:
            shown += text
        column += size
    skipped = sum(size for size in _skipped(cells, left))
    head = _CUT if left else ""
    tail = _CUT if left + width - 1 < total else ""
    at = first - skipped + len(head)
    return head + shown + tail, at, max(1, min(marked, width - at))


def _skipped(cells: list[tuple[str, int]], left: int) -> list[int]:
    """The sizes of the cells before the window."""
    column, sizes = 0, []
    for _, size in cells:
        if column >= left:
            break
        sizes.append(size)
        column += size
    return sizes


def _cells(line: str) -> list[tuple[str, int]]:
    """Each character as a terminal shows it, with its width in columns."""
    cells = []
    column = 0
    for character in line:
        if character == "\t":
            size = TAB - column % TAB
            cells.append((" " * size, size))
        else:
            seen = character if character.isprintable() or _width(character) == 0 else "�"
            cells.append((seen, _width(seen)))
        column += cells[-1][1]
    return cells


def _width(character: str) -> int:
    if character < "\x7f":
        return 1
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _clean(text: str) -> str:
    """A text without characters that would steer the terminal."""
    return "".join(c if c.isprintable() or c == " " else "�" for c in text.replace("\n", " "))
