"""What a launch script would start, told from its text alone: nothing is ever run.

Variables, defaults (`${VAR:-x}`), arrays, arithmetic and simple tests are followed. What only a running
shell can tell (`$(…)`, a variable that nothing sets, an argument) stays a hole with its name.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from residency.engines.verl.importing import shell_test
from residency.engines.verl.importing.shell_syntax import (
    Case,
    Chain,
    Function,
    If,
    Loop,
    Simple,
    Statement,
    parse,
)
from residency.engines.verl.importing.shell_tokens import (
    Arithmetic,
    Array,
    Assignment,
    Command,
    Literal,
    Part,
    Variable,
    Word,
    argument,
)
from residency.engines.verl.importing.shell_values import calculate, cut

_FALLBACK = re.compile(r"\|\|\s*echo\s+[\"']?([\w./-]+)[\"']?\s*$")
_HERE = re.compile(r"^\s*pwd\s*$")
_BESIDE = re.compile(
    r"""^\s*(?P<cd>cd\s+(?:--\s+)?"?\$\(\s*)?dirname\s+(?:--\s+)?"?\$(?:0|\{?BASH_SOURCE(?:\[0\])?\}?)"?\s*"""
    r"""(?(cd)\)(?P<up>/[\w./-]*)?"?\s*(?:>\s*\S+\s*)?(?:2>\s*\S+\s*)?&&\s*pwd(?:\s+-P)?\s*)$"""
)
"""`dirname "$0"` and `cd "$(dirname "$0")/.." && pwd`: the script's own folder, or one above it."""
HOME = "~"
_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Hole:
    """A part of a value that the text does not tell."""

    kind: str
    """`variable`, `command` or `argument`."""
    text: str
    """The variable's name, the command, the argument's number."""
    line: int = 0


Value = tuple["str | Hole", ...]
"""Texts and holes, one behind the other."""


@dataclass(frozen=True, slots=True)
class Started:
    """A command that the script would start."""

    words: tuple[Value, ...]
    line: int
    env: dict[str, Value] = field(default_factory=dict)
    """What it exports, or sets for this command."""


@dataclass(slots=True)
class Script:
    """What a script does, as far as its text tells."""

    commands: list[Started] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was passed over or assumed, each with its line."""
    used: set[str] = field(default_factory=set)
    """Variables that the script itself reads."""


def plain(value: Value) -> str | None:
    """The text of a value without holes, or None."""
    return "".join(str(part) for part in value) if all(isinstance(part, str) for part in value) else None


def read(text: str) -> Script:
    """Follow a script."""
    shell = _Shell()
    shell.run(parse(text), 0)
    return shell.script


class _Shell:
    def __init__(self) -> None:
        self.script = Script()
        self.scalars: dict[str, Value] = {}
        self.arrays: dict[str, list[Value]] = {}
        self.exported: set[str] = set()
        self.functions: dict[str, tuple[Statement, ...]] = {}

    # Statements

    def run(self, statements: Iterable[Statement], depth: int) -> None:
        for statement in statements:
            self._one(statement, depth)

    def _one(self, statement: Statement, depth: int) -> None:
        if depth > _DEPTH:
            return
        if isinstance(statement, Simple):
            self._simple(statement, depth)
        elif isinstance(statement, Function):
            self.functions[statement.name] = statement.body
        elif isinstance(statement, If):
            self._if(statement, depth)
        elif isinstance(statement, Case):
            self._case(statement, depth)
        elif isinstance(statement, Loop):
            self._loop(statement, depth)
        else:
            self._chain(statement, depth)

    def _chain(self, chain: Chain, depth: int) -> None:
        """`a && b || c`: a test that is known decides; without one all but `||` is followed."""
        outcome: bool | None = None
        for joint, part in chain.parts:
            if joint == "||" and outcome is not False:
                continue
            if joint == "&&" and outcome is False:
                continue
            if isinstance(part, Simple) and shell_test.is_test(part):
                outcome = shell_test.holds(part, self._expanded)
                continue
            self._one(part, depth)
            outcome = None if joint == "|" else outcome

    def _if(self, statement: If, depth: int) -> None:
        for condition, body in statement.branches:
            outcome = shell_test.decide(condition, self._expanded)
            if outcome is None:
                line = f"line {statement.line}"
                self.note(f"{line}: whether its `if` holds cannot be told; its `else` is taken, or nothing")
                break
            if outcome:
                self.run(body, depth + 1)
                return
        self.run(statement.otherwise, depth + 1)

    def _case(self, statement: Case, depth: int) -> None:
        value = plain(self._text(statement.word))
        if value is None:
            self.note(f"line {statement.line}: what its `case` chooses by cannot be told; it is passed over")
            return
        for patterns, body in statement.branches:
            if any(fnmatch.fnmatchcase(value, plain(self._text(p)) or "") for p in patterns):
                self.run(body, depth + 1)
                return

    def _loop(self, statement: Loop, depth: int) -> None:
        if statement.name:
            values = self._expanded(statement.words)
            if len(values) > 1:
                self.note(f"line {statement.line}: of the loop over `{statement.name}` the first is taken")
            if values:
                self.scalars[statement.name] = values[0]
        self.run(statement.body, depth + 1)

    def _simple(self, command: Simple, depth: int) -> None:
        if not command.words:
            for assignment in command.assignments:
                self._assign(assignment)
            return
        before = {a.name: self._value(a) for a in command.assignments}
        first = command.words[0].plain
        if first in ("export", "local", "declare", "readonly", "typeset"):
            for assignment in command.exported:
                self._assign(assignment)
                if first == "export":
                    self.exported.add(assignment.name)
            if first == "export":
                self.exported.update(w.plain for w in command.words[1:] if w.plain)
            return
        if first == "unset":
            for word in command.words[1:]:
                self.scalars.pop(word.plain or "", None)
                self.arrays.pop(word.plain or "", None)
            return
        if first in ("source", "."):
            self.note(f"line {command.line}: the file that it reads with `{first}` is not followed")
            return
        words = self._expanded(command.words)
        if first in self.functions:
            for number, value in enumerate(words[1:], 1):
                self.scalars[str(number)] = value
            self.run(self.functions[first], depth + 1)
            return
        # `env A=b python3 …` stands as assignments behind the first word.
        before |= {a.name: self._value(a) for a in command.exported}
        if words:
            exported = {name: self.scalars[name] for name in sorted(self.exported) if name in self.scalars}
            self.script.commands.append(Started(tuple(words), command.line, {**exported, **before}))

    def note(self, text: str) -> None:
        if text not in self.script.notes:
            self.script.notes.append(text)

    def _assign(self, assignment: Assignment) -> None:
        if isinstance(assignment.value, Array):
            values = self._expanded(assignment.value.words)
            old = self.arrays.get(assignment.name, []) if assignment.append else []
            self.arrays[assignment.name] = [*old, *values]
            self.scalars.pop(assignment.name, None)
            return
        if assignment.name in self.arrays and not assignment.index:
            del self.arrays[assignment.name]
        self.scalars[assignment.name] = self._value(assignment)

    def _value(self, assignment: Assignment) -> Value:
        if isinstance(assignment.value, Array):
            return ()
        value = self._text(assignment.value)
        return (*self.scalars.get(assignment.name, ()), *value) if assignment.append else value

    # Words

    def _expanded(self, words: Iterable[Word]) -> list[Value]:
        """The words that a command gets: arrays opened, unquoted variables split at blanks."""
        found: list[Value] = []
        for word in words:
            found += self._split(word)
        return found

    def _split(self, word: Word) -> list[Value]:
        pieces: list[list[str | Hole]] = []
        current: list[str | Hole] | None = None
        opened = False
        for part in word.parts:
            values = self._array(part)
            opened = opened or values is not None
            if values is None and isinstance(part, Variable) and not part.quoted and self._defaulted(part):
                values = self._split(Word(part.argument.parts, word.line))
            if values is None:
                text = self._part(part, word.line)
                if not part.quoted and isinstance(part, Variable):
                    values = _at_blanks(text)
                else:
                    current = [*(current or []), *text]
                    continue
            for number, value in enumerate(values):
                if number and current is not None:
                    pieces.append(current)
                    current = None
                current = [*(current or []), *value]
        if current is not None:
            pieces.append(current)
        found = [_merged(piece) for piece in pieces]
        # `"${NAME[@]}"` without values is no word, not an empty one.
        return [] if opened and len(found) == 1 and plain(found[0]) == "" else found

    def _defaulted(self, part: Variable) -> bool:
        """True for `${NAME:-default}` that stands for its default."""
        if part.operator not in (":-", "-") or part.index:
            return False
        name = part.name
        known = name in self.scalars or name in self.arrays or name in ("HOME", "PWD")
        return not known or (part.operator == ":-" and plain(self._named(name, 0)) == "")

    def _array(self, part: Part) -> list[Value] | None:
        """The values of `"${NAME[@]}"`, `$@`; None for any other part."""
        if not isinstance(part, Variable):
            return None
        if part.name in ("@", "*"):
            return []
        if part.index in ("@", "*") and not part.length:
            self.script.used.add(part.name)
            if part.name in self.arrays:
                return list(self.arrays[part.name])
            return [self.scalars[part.name]] if part.name in self.scalars else []
        return None

    def _text(self, word: Word, line: int = 0) -> Value:
        """The value of a word that is not split: an assignment's, a test's."""
        line = word.line or line
        found: list[str | Hole] = []
        for part in word.parts:
            values = self._array(part)
            if values is None:
                found += self._part(part, line)
            else:
                for number, value in enumerate(values):
                    found += [" ", *value] if number else value
        return _merged(found)

    def _part(self, part: Part, line: int) -> Value:
        if isinstance(part, Literal):
            return (part.text,)
        if isinstance(part, Arithmetic):
            return self._arithmetic(part.text, line)
        if isinstance(part, Command):
            return self._command(part.text, line)
        return self._variable(part, line)

    def _command(self, text: str, line: int) -> Value:
        if _HERE.match(text):
            return (".",)
        if beside := _BESIDE.match(text):
            return (posixpath.normpath((beside["up"] or "").lstrip("/") or "."),)
        echoed = re.fullmatch(r"\s*echo\s+(.*)", text, re.S)
        if echoed and not re.search(r"[|&;<>]", echoed[1]):
            return self._text(argument(echoed[1].strip()))
        fallback = _FALLBACK.search(text)
        if fallback:
            self.note(f"line {line}: `$({text.strip()})` is taken as `{fallback[1]}`")
            return (fallback[1],)
        return (Hole("command", text.strip(), line),)

    def _arithmetic(self, text: str, line: int) -> Value:
        def value(match: re.Match[str]) -> str:
            known = plain(self._named(match[1], line)) or ""
            return known if re.fullmatch(r"-?\d+", known.strip()) else "?"

        filled = re.sub(r"\$?\{?([A-Za-z_]\w*)\}?", value, text)
        result = calculate(filled)
        return (str(result),) if result is not None else (Hole("command", f"(({text.strip()}))", line),)

    def _named(self, name: str, line: int) -> Value:
        self.script.used.add(name)
        if name in self.scalars:
            return self.scalars[name]
        if name in self.arrays:
            return self.arrays[name][0] if self.arrays[name] else ()
        if name == "#":
            return ("0",)  # called without arguments, as `$@` has none
        if name == "HOME":
            return (HOME,)
        if name == "PWD":
            return (".",)
        kind = "argument" if name.isdigit() else "variable"
        return (Hole(kind, name, line),)

    def _variable(self, part: Variable, line: int) -> Value:
        name = part.name
        if part.length:
            return (str(len(self.arrays[name])),) if name in self.arrays else (Hole("variable", name, line),)
        if part.index.isdigit() and name in self.arrays:
            values = self.arrays[name]
            return values[int(part.index)] if int(part.index) < len(values) else ()
        known = name in self.scalars or name in self.arrays or name in ("HOME", "PWD")
        value = self._named(name, line)
        empty = known and plain(value) == ""
        sign = part.operator
        if sign in (":-", ":=", "-", "="):
            if known and not (empty and sign.startswith(":")):
                return value
            value = self._text(part.argument, line)
            if sign.endswith("="):
                self.scalars[name] = value
            return value
        if sign in (":+", "+"):
            return self._text(part.argument, line) if known and not empty else ()
        if sign in (":?", "?", ""):
            return value
        text, pattern = plain(value), plain(self._text(part.argument))
        if text is None or pattern is None:
            return value
        return (cut(text, sign, pattern),)


def _at_blanks(value: Value) -> list[Value]:
    """The words of an unquoted variable."""
    text = plain(value)
    if text is None or not re.search(r"\s", text):
        return [value] if text != "" else []
    return [(word,) for word in text.split()]


def _merged(parts: Iterable[str | Hole]) -> Value:
    found: list[str | Hole] = []
    for part in parts:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        else:
            found.append(part)
    return tuple(found)
