"""Bytes of a YAML file → a tree in which every key and value knows where it was written.

PyYAML scans and parses; what scalars mean is decided here, by YAML 1.2. No tag constructs an
object, and what aliases expand to is bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, Node, Sequence, Span
from residency.recipe.yaml_compose import Composer, Stop
from residency.recipe.yaml_errors import Explanation, ParserError, explain

MAX_BYTES = 5_000_000
MAX_REPAIRS = 50
"""Syntax errors reported of one file; each is mended to find the next."""
MAX_REPAIRS_LARGE = 3
"""The same for a file of more than 200,000 characters, since each costs another parse."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read(data: bytes, file: str, found: Diagnostics) -> Mapping | None:
    """The mapping that a YAML file holds.

    Args:
        data: The file's bytes, UTF-8 with or without a byte order mark.
        file: The file as the user named it.
        found: Takes every mistake, and the text for the snippets.

    Returns:
        The tree; None when there is none that can be used. A tree with mistakes that leave its
        meaning clear (a duplicate key, a tab, a tag) is given back all the same.
    """
    text = decode(data, file, found)
    if text is None:
        return None
    root = read_text(text, file, found)
    if root is None or isinstance(root, Mapping):
        return root
    what = "a list" if isinstance(root, Sequence) else "a single value"
    found.add(
        "yaml-not-mapping",
        f"the file holds {what}, not a mapping of keys",
        root.span,
        hint="a recipe is a mapping of `key: value` lines, the first one `kind: …`",
    )
    return None


def decode(data: bytes, file: str, found: Diagnostics) -> str | None:
    """The text of a file, or None with a diagnostic when it is too large or not UTF-8."""
    top = Span(file, 1, 1, 1, 1)
    if len(data) > MAX_BYTES:
        found.add(
            "yaml-too-large",
            f"the file has {len(data):,} bytes; a recipe may have {MAX_BYTES:,}",
            top,
            hint="data belongs in a file of its own that the recipe names",
        )
        return None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        found.add("yaml-encoding", "the file is UTF-16, not UTF-8", top, hint="save it as UTF-8")
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        position = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        before = data[:position].decode("utf-8-sig", errors="replace")
        found.sources[file] = data.decode("utf-8-sig", errors="replace")
        line = before.count("\n") + 1
        column = len(before) - (before.rfind("\n") + 1) + 1
        found.add(
            "yaml-encoding",
            f"the file is not UTF-8: byte {position} is 0x{data[position]:02x}",
            Span(file, line, column, line, column + 1),
            hint="save the file as UTF-8",
        )
        return None
    found.sources[file] = text
    return text


def read_text(text: str, file: str, found: Diagnostics, *, column: int = 0) -> Node | None:
    """The one document in a text, of any type.

    Args:
        text: YAML.
        file: What spans name: a file, or a command-line option.
        found: Takes every mistake.
        column: How many characters stand before `text` on its first line, in `file`.

    Returns:
        The tree, or None when there is none that can be used.
    """
    page = _Page(file, text, column)
    if page.unprintable(found):
        return None
    sound = True
    seen: set[tuple[int, int]] = set()
    tabbed = -1
    for _ in range(MAX_REPAIRS if len(text) < 200_000 else MAX_REPAIRS_LARGE):
        # What was found before a repair is found again, with the same places, behind it.
        attempt = Diagnostics()
        composer = Composer(page.span, attempt, page.ends)
        try:
            root = composer.document(iter(yaml.parse(page.text, Loader=_LOADER)))
        except Stop:
            found.extend(attempt)
            return None
        except yaml.YAMLError as error:
            said = _said(error)
            explanation = explain(said, page.lines, composer.quoted)
            place = (explanation.place[0], explanation.place[1])
            is_tab = explanation.code == "yaml-tab"
            if place[0] != tabbed or is_tab:
                # How far a line with tabs was meant to be indented cannot be told.
                page.report(explanation, found)
            if place in seen or explanation.stop:
                found.extend(attempt)
                return None
            seen.add(place)
            tabbed = place[0] if is_tab else tabbed
            mended = page.mend(explanation)
            if mended is None:
                found.extend(attempt)
                return None
            sound = sound and mended
            continue
        found.extend(attempt)
        if root is None and sound:
            found.add(
                "yaml-empty",
                "the file is empty",
                Span(file, 1, 1, 1, 1),
                hint="a recipe starts with `kind: …`",
            )
        return root if sound else None
    return None


def _said(error: yaml.YAMLError) -> ParserError:
    """What a parser's exception says, with line and column."""
    problem = getattr(error, "problem_mark", None)
    context = getattr(error, "context_mark", None) or problem
    line, column = (problem.line, problem.column) if problem else (0, 0)
    return ParserError(
        problem=str(getattr(error, "problem", None) or error),
        line=line,
        column=column,
        context=str(getattr(error, "context", None) or ""),
        context_line=context.line if context else line,
        context_column=context.column if context else column,
    )


@dataclass
class _Page:
    """A text that is being read, and the repairs made to read on behind a mistake."""

    file: str
    text: str
    column: int
    lines: list[str] = field(init=False)
    spaces: dict[int, int] = field(default_factory=dict)
    """Line → column at which a space was put in."""
    ends: list[int] = field(init=False)
    """Length of each line."""

    def __post_init__(self) -> None:
        self.lines = self.text.splitlines()
        self.ends = [len(line) for line in self.lines]

    def span(self, line: int, column: int, end_line: int, end_column: int) -> Span:
        """The span for places that the parser gave, which count from 0."""
        return Span(
            self.file,
            line + 1,
            self._place(line, column) + 1,
            end_line + 1,
            self._place(end_line, end_column) + 1,
        )

    def _place(self, line: int, column: int) -> int:
        """A column of the text as it was before the repairs, in the file or option."""
        put_in = self.spaces.get(line)
        if put_in is not None and column > put_in:
            column -= 1
        return column + (self.column if line == 0 else 0)

    def report(self, explanation: Explanation, found: Diagnostics) -> None:
        """Record a syntax error."""
        line, start, end = explanation.place
        notes = []
        if explanation.note is not None:
            what, (at, first, last) = explanation.note
            notes.append((what, self.span(at, first, at, last)))
        found.add(
            explanation.code,
            explanation.message,
            self.span(line, start, line, end),
            hint=explanation.hint,
            notes=notes,
        )

    def unprintable(self, found: Diagnostics) -> bool:
        """Report the first character that YAML does not allow."""
        match = _UNPRINTABLE.search(self.text)
        if match is None:
            return False
        lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", self.text[: match.start()])
        line, column = len(lines) - 1, len(lines[-1])
        found.add(
            "yaml-syntax",
            f"the character U+{ord(match[0]):04X} is not allowed in YAML",
            self.span(line, column, line, column + 1),
            hint="delete it; it may have come from copying out of another program",
        )
        return True

    def mend(self, explanation: Explanation) -> bool | None:
        """Change the text so that what stands behind the mistake can be read.

        Returns:
            True when the meaning is kept, False when a line was left out, None when the
            mistake cannot be mended.
        """
        line, start, _ = explanation.place
        if line >= len(self.lines):
            return None
        text = self.lines[line]
        sound = True
        if explanation.code == "yaml-tab":
            indent = len(text) - len(text.lstrip())
            stop = max(indent, start + 1)
            self.lines[line] = text[:stop].replace("\t", " ") + text[stop:]
        elif explanation.insert_space is not None and line not in self.spaces:
            at = explanation.insert_space[1]
            self.spaces[line] = at
            self.lines[line] = text[:at] + " " + text[at:]
        else:
            # Leave the line out, unless others hang on it.
            below = self.lines[line + 1] if line + 1 < len(self.lines) else ""
            deeper = len(below) - len(below.lstrip()) > len(text) - len(text.lstrip())
            if "&" in text or (below.strip() and deeper):
                return None
            self.lines[line] = ""
            sound = False
        self.text = "\n".join(self.lines) + "\n"
        return sound
