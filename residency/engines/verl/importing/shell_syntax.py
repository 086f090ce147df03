"""Reads a shell script's words as commands, `if`, `case`, loops and functions; nothing is run.

What it cannot read is passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

from residency.engines.verl.importing.shell_tokens import REDIRECTS, Assignment, Operator, Reader, Token, Word


@dataclass(frozen=True, slots=True)
class Simple:
    """A command: assignments, then words."""

    assignments: tuple[Assignment, ...]
    words: tuple[Word, ...]
    line: int
    exported: tuple[Assignment, ...] = ()


@dataclass(frozen=True, slots=True)
class If:
    """`if … then … elif … else … fi`."""

    branches: tuple[tuple[tuple[Statement, ...], tuple[Statement, ...]], ...]
    """(condition, body) each."""
    otherwise: tuple[Statement, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Case:
    """`case WORD in PATTERN) … ;; esac`."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], tuple[Statement, ...]], ...]
    line: int


@dataclass(frozen=True, slots=True)
class Loop:
    """`for NAME in WORDS; do … done`; `while` and `until` have no name."""

    name: str
    words: tuple[Word, ...]
    body: tuple[Statement, ...]
    line: int


@dataclass(frozen=True, slots=True)
class Function:
    """`NAME() { … }`."""

    name: str
    body: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Chain:
    """Commands joined by `&&` and `||`, with the joint before each."""

    parts: tuple[tuple[str, Statement], ...]


Statement = Simple | If | Case | Loop | Function | Chain


def parse(text: str) -> tuple[Statement, ...]:
    """The statements of a script."""
    return _Parser(Reader(text).tokens()).block(frozenset())


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at = tokens, 0

    def _peek(self) -> Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def _keyword(self) -> str:
        token = self._peek()
        return (token.plain or "") if isinstance(token, Word) else ""

    def _operator(self) -> str:
        token = self._peek()
        return token.text if isinstance(token, Operator) else ""

    def _line(self) -> int:
        token = self._peek()
        return token.line if isinstance(token, Word | Operator) else 0

    def block(self, ends: frozenset[str]) -> tuple[Statement, ...]:
        """Statements up to one of the words or operators in `ends`, which is left to be read."""
        found: list[Statement] = []
        while self._peek() is not None:
            if self._keyword() in ends or self._operator() in ends:
                break
            if self._operator() in ("\n", ";", "&", "|", "|&", ")", ";;", "&&", "||"):
                self.at += 1
                continue
            statement = self._chain(ends)
            if statement is not None:
                found.append(statement)
        return tuple(found)

    def _chain(self, ends: frozenset[str]) -> Statement | None:
        parts: list[tuple[str, Statement]] = []
        joint = ""
        while True:
            before = self.at
            statement = self._statement(ends)
            if statement is not None:
                parts.append((joint, statement))
            if self.at == before:
                self.at += 1
            joint = self._operator()
            if joint not in ("&&", "||", "|"):
                break
            self.at += 1
            while self._operator() == "\n":
                self.at += 1
        if len(parts) > 1:
            return Chain(tuple(parts))
        return parts[0][1] if parts else None

    def _statement(self, ends: frozenset[str]) -> Statement | None:
        word = self._keyword()
        if word == "if":
            return self._if()
        if word == "case":
            return self._case()
        if word in ("for", "while", "until", "select"):
            return self._loop()
        if word == "{":
            return self._group("}")
        if self._operator() == "(":
            return self._group(")")
        if word == "function" or self._is_function():
            return self._function()
        return self._simple()

    def _is_function(self) -> bool:
        following = self.tokens[self.at + 1 : self.at + 3]
        return bool(
            self._keyword()
            and len(following) == 2
            and all(isinstance(token, Operator) for token in following)
            and [token.text for token in following if isinstance(token, Operator)] == ["(", ")"]
        )

    def _function(self) -> Function:
        if self._keyword() == "function":
            self.at += 1
        name = self._keyword()
        self.at += 1
        while self._operator() in ("(", ")", "\n"):
            self.at += 1
        body: tuple[Statement, ...] = ()
        if self._keyword() == "{":
            self.at += 1
            body = self.block(frozenset({"}"}))
            self.at += 1
        return Function(name, body)

    def _group(self, end: str) -> Statement:
        line = self._line()
        self.at += 1
        body = self.block(frozenset({end}))
        self.at += 1
        return Loop("", (), body, line)

    def _if(self) -> If:
        line = self._line()
        branches: list[tuple[tuple[Statement, ...], tuple[Statement, ...]]] = []
        otherwise: tuple[Statement, ...] = ()
        while self._keyword() in ("if", "elif"):
            self.at += 1
            condition = self.block(frozenset({"then"}))
            self.at += 1
            body = self.block(frozenset({"elif", "else", "fi"}))
            branches.append((condition, body))
        if self._keyword() == "else":
            self.at += 1
            otherwise = self.block(frozenset({"fi"}))
        self.at += 1
        return If(tuple(branches), otherwise, line)

    def _case(self) -> Case:
        line = self._line()
        self.at += 1
        token = self._peek()
        word = token if isinstance(token, Word) else Word(())
        self.at += 1
        while self._operator() == "\n" or self._keyword() == "in":
            self.at += 1
        branches: list[tuple[tuple[Word, ...], tuple[Statement, ...]]] = []
        while self._peek() is not None and self._keyword() != "esac":
            if self._operator() in ("\n", ";;", ";", "(", ";&", ";;&"):
                self.at += 1
                continue
            patterns: list[Word] = []
            while (token := self._peek()) is not None and self._operator() != ")":
                if isinstance(token, Word):
                    patterns.append(token)
                self.at += 1
            self.at += 1
            body = self.block(frozenset({";;", ";&", ";;&", "esac"}))
            branches.append((tuple(patterns), body))
        self.at += 1
        return Case(word, tuple(branches), line)

    def _loop(self) -> Loop:
        line, kind = self._line(), self._keyword()
        self.at += 1
        name = ""
        words: list[Word] = []
        if kind in ("for", "select"):
            name = self._keyword()
            self.at += 1
            while (token := self._peek()) is not None and self._keyword() != "do":
                if isinstance(token, Word) and token.plain != "in":
                    words.append(token)
                self.at += 1
        else:
            self.block(frozenset({"do"}))
        self.at += 1
        body = self.block(frozenset({"done"}))
        self.at += 1
        return Loop(name, tuple(words), body, line)

    def _simple(self) -> Simple | None:
        line = self._line()
        assignments: list[Assignment] = []
        words: list[Word] = []
        exported: list[Assignment] = []
        while (token := self._peek()) is not None:
            if isinstance(token, Operator):
                if token.text not in REDIRECTS:
                    break
                self.at += 1
                if token.text not in ("<<", "<<-") and isinstance(self._peek(), Word):
                    self.at += 1  # the file; that of `<<` was read with its mark
                if words and (words[-1].plain or "").isdigit():
                    words.pop()  # `2>file`
                continue
            if isinstance(token, Assignment):
                (exported if words else assignments).append(token)
            else:
                words.append(token)
            self.at += 1
        if not (assignments or words):
            return None
        return Simple(tuple(assignments), tuple(words), line, tuple(exported))
