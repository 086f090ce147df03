"""Splits a shell script into words and operators. Nothing is expanded here, and nothing is ever run.

Quotes, continued lines, comments, variables, arrays, here-documents, as launch scripts use them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z_]\w*")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\[[^\]]*\])?(\+?)=")
_OPERATORS = ("&&", "||", ";;&", ";;", ";&", "|&", "<<<", "<<-", "<<", ">>", ">&", "<&", "&>>", "&>", ">|",
              ";", "&", "|", "(", ")", "<", ">", "\n")  # fmt: skip
REDIRECTS = frozenset({"<", ">", ">>", ">&", "<&", "&>", "&>>", ">|", "<<<", "<<", "<<-"})
_END_OF_WORD = frozenset(" \t\n;&|()<>")


@dataclass(frozen=True, slots=True)
class Literal:
    """Text as it stands."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Variable:
    """`$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME[@]}`."""

    name: str
    quoted: bool = False
    operator: str = ""
    """`:-`, `-`, `:=`, `:+`, `%`, `##`, `/`, …; empty for the plain value."""
    argument: Word = field(default_factory=lambda: Word(()))
    index: str = ""
    """What stands in `[ ]`: `@`, `*`, `0`."""
    length: bool = False
    """`${#NAME}`."""


@dataclass(frozen=True, slots=True)
class Command:
    """`$(…)` or backquotes: the text inside."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`$((…))`: the text inside."""

    text: str
    quoted: bool = False


Part = Literal | Variable | Command | Arithmetic


@dataclass(frozen=True, slots=True)
class Word:
    """Parts with no blank between them."""

    parts: tuple[Part, ...]
    line: int = 0

    @property
    def plain(self) -> str | None:
        """The text of a word without quotes and variables, such as a keyword; None for any other."""
        if all(isinstance(part, Literal) and not part.quoted for part in self.parts):
            return "".join(part.text for part in self.parts if isinstance(part, Literal))
        return None


@dataclass(frozen=True, slots=True)
class Array:
    """What stands after `NAME=` when it is `( … )`."""

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Assignment:
    """`NAME=value`, `NAME+=(…)`."""

    name: str
    value: Word | Array
    append: bool = False
    index: str = ""


@dataclass(frozen=True, slots=True)
class Operator:
    """`;`, `&&`, a newline, …"""

    text: str
    line: int


Token = Word | Assignment | Operator


class Reader:
    """Splits a text into words and operators."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n").replace("\\\n", "\x00")
        # A continued line is one NUL, so that lines can still be counted.
        self.at = 0
        self.line = 1
        self._heredocs: list[tuple[str, bool]] = []

    def tokens(self) -> list[Token]:
        """All of them, to the end of the text."""
        found: list[Token] = []
        while (token := self._next(found)) is not None:
            found.append(token)
        return found

    def _peek(self, offset: int = 0) -> str:
        at = self.at + offset
        return self.text[at] if at < len(self.text) else ""

    def _take(self) -> str:
        char = self._peek()
        self.at += 1
        if char in ("\n", "\x00"):
            self.line += 1
        return char

    def _next(self, before: list[Token]) -> Token | None:
        while True:
            char = self._peek()
            if not char:
                return None
            if char in " \t\x00":
                self._take()
            elif char == "#":
                # A comment ends at its line; one that ends in a backslash is not continued.
                while (char := self._peek()) and char not in "\n\x00":
                    self._take()
                if char == "\x00":
                    self._take()
                    return Operator("\n", self.line)
            else:
                break
        for operator in _OPERATORS:
            if self.text.startswith(operator, self.at):
                return self._operator(operator)
        match = _ASSIGNMENT.match(self.text, self.at)
        if match and _starts_command(before):
            return self._assignment(match)
        return self._word()

    def _operator(self, text: str) -> Operator:
        line = self.line
        for _ in text:
            self._take()
        if text in ("<<", "<<-"):
            while self._peek() in (" ", "\t"):
                self._take()
            word = self._word()
            mark = "".join(part.text for part in word.parts if isinstance(part, Literal))
            self._heredocs.append((mark, text == "<<-"))
        elif text == "\n":
            self._skip_heredocs()
        return Operator(text, line)

    def _skip_heredocs(self) -> None:
        for mark, tabs in self._heredocs:
            while self._peek():
                start = self.at
                while self._peek() and self._peek() != "\n":
                    self._take()
                line = self.text[start : self.at]
                self._take()
                if (line.lstrip("\t") if tabs else line) == mark:
                    break
        self._heredocs.clear()

    def _assignment(self, match: re.Match[str]) -> Assignment:
        self.at = match.end()
        append, index = bool(match[3]), (match[2] or "").strip("[]")
        if self._peek() == "(":
            self._take()
            return Assignment(match[1], Array(tuple(self._array())), append, index)
        return Assignment(match[1], self._word(), append, index)

    def _array(self) -> list[Word]:
        found: list[Word] = []
        while (char := self._peek()) and char != ")":
            if char in " \t\n\x00":
                self._take()
            elif char == "#":
                while (char := self._peek()) and char not in "\n\x00":
                    self._take()
            else:
                before = self.at
                found.append(self._word())
                if self.at == before:
                    self._take()
        self._take()
        return found

    def _word(self) -> Word:
        parts: list[Part] = []
        line = self.line
        while (char := self._peek()) and char not in _END_OF_WORD and char != "\x00":
            if char == "'":
                self._take()
                parts.append(Literal(self._until("'").replace("\x00", "\\\n"), True))
            elif char == '"':
                self._take()
                parts += self._double()
            elif char == "\\":
                self._take()
                parts.append(Literal(self._take(), True))
            elif char == "$" and self._peek(1) in ("'", '"'):
                self._take()
            elif char in "$`":
                parts.append(self._expansion(quoted=False))
            else:
                parts.append(Literal(self._take()))
        return Word(tuple(_joined(parts)), line)

    def _double(self) -> list[Part]:
        parts: list[Part] = [Literal("", True)]
        while (char := self._peek()) and char != '"':
            if char == "\\" and self._peek(1) in ('"', "\\", "$", "`"):
                self._take()
                parts.append(Literal(self._take(), True))
            elif char in "$`":
                parts.append(self._expansion(quoted=True))
            elif char == "\x00":
                self._take()
            else:
                parts.append(Literal(self._take(), True))
        self._take()
        return parts

    def _until(self, end: str) -> str:
        start = self.at
        while self._peek() and self._peek() != end:
            self._take()
        text = self.text[start : self.at]
        self._take()
        return text

    def _expansion(self, *, quoted: bool) -> Part:
        if self._take() == "`":
            return Command(self._until("`").replace("\x00", " "), quoted)
        if self.text.startswith("((", self.at):
            return Arithmetic(self._nested("(", ")")[1:-1].replace("\x00", " "), quoted)
        if self._peek() == "(":
            return Command(self._nested("(", ")").replace("\x00", " "), quoted)
        if self._peek() == "{":
            return _variable(self._nested("{", "}"), quoted)
        match = _NAME.match(self.text, self.at)
        if match:
            self.at = match.end()
            return Variable(match[0], quoted)
        if self._peek() and self._peek() in "@*#?$!-0123456789":
            return Variable(self._take(), quoted)
        return Literal("$", quoted)

    def _nested(self, open_: str, close: str) -> str:
        """The text up to the bracket that closes the one here, without the two."""
        self._take()
        start, depth = self.at, 1
        while char := self._peek():
            if char == "\\":
                self._take()
                self._take()
                continue
            if char == "'" and open_ == "(":
                self._take()
                self._until("'")
                continue
            depth += (char == open_) - (char == close)
            if depth == 0:
                break
            self._take()
        text = self.text[start : self.at]
        self._take()
        return text


def _starts_command(before: list[Token]) -> bool:
    """True where an assignment may stand: at a command's start, or after `export`."""
    for token in reversed(before):
        if isinstance(token, Assignment):
            continue
        if isinstance(token, Operator):
            return token.text not in REDIRECTS
        return token.plain in ("export", "local", "declare", "readonly", "typeset", "then", "do", "else", "{",
                               "env", "-x", "-r", "-a", "-gx", "-g")  # fmt: skip
    return True


_BRACED = re.compile(r"^(#?)([A-Za-z_]\w*|[@*#?0-9]+)(?:\[([^\]]*)\])?(.*)$", re.S)
_BRACED_OPERATOR = re.compile(r"^(:-|:=|:\+|:\?|-|=|\+|\?|##|#|%%|%|//|/|\^\^|\^|,,|,|:|@)", re.S)


def _variable(text: str, quoted: bool) -> Part:
    match = _BRACED.match(text.replace("\x00", ""))
    if match is None:
        return Literal("${" + text + "}", quoted)
    rest = match[4]
    operator = _BRACED_OPERATOR.match(rest)
    sign = operator[0] if operator else ""
    return Variable(
        match[2], quoted, sign, argument(rest[len(sign) :]), match[3] or "", length=match[1] == "#"
    )


def argument(text: str) -> Word:
    """The word behind `:-` and the like, in which blanks do not end it."""
    reader = Reader(text)
    parts: list[Part] = []
    while char := reader._peek():
        if char == "'":
            reader._take()
            parts.append(Literal(reader._until("'"), True))
        elif char == '"':
            reader._take()
            parts += reader._double()
        elif char == "\\":
            reader._take()
            parts.append(Literal(reader._take(), True))
        elif char in "$`":
            parts.append(reader._expansion(quoted=False))
        else:
            parts.append(Literal(reader._take()))
    return Word(tuple(_joined(parts)))


def _joined(parts: list[Part]) -> list[Part]:
    """Neighbouring texts made one."""
    found: list[Part] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Literal) and isinstance(last, Literal) and part.quoted == last.quoted:
            found[-1] = Literal(last.text + part.text, part.quoted)
        else:
            found.append(part)
    return found
