"""A query's tokens as a tree.

PubMed's rules: operators in capitals, from left to right with no precedence, brackets first; AND where
nothing stands between two terms; a field tag holds for all words before it that have none and are
parted by nothing else. The parser keeps its own stack, so that no depth of brackets can break it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from residency.recipe.suggest import closest
from residency.retrieval.boolean.engine import QueryRejected
from residency.retrieval.boolean.fields import TAGS, Field
from residency.retrieval.boolean.fields import field as field_of
from residency.retrieval.boolean.lexer import Token, straighten, tokens
from residency.retrieval.boolean.syntax import Chain, Node, Range, Term, Words

DEEPEST = 100
"""Brackets within brackets."""
WIDEST = 1000
"""Words between the words of a proximity search."""

_RANGE_END = re.compile(r"\s*\d{1,10}(?:[/.-]\d{1,2}){0,2}\s*")
_HISTORY = re.compile(r"#\d+")


@dataclass(slots=True)
class _Level:
    """What has been read between two brackets."""

    start: int
    first: Node | None = None
    rest: list[tuple[Any, Node]] = field(default_factory=list)
    operator: Token | None = None


@dataclass(frozen=True, slots=True)
class _Tag:
    field: Field
    noexp: bool
    near: int | None
    token: Token


class _Parser:
    def __init__(self, query: str) -> None:
        self.query = straighten(query)
        self.tokens = tokens(self.query)
        self.at = 0
        self.warnings: list[str] = []

    def reject(self, reason: str, position: int, hint: str | None = None) -> QueryRejected:
        return QueryRejected(reason, position, self.query, hint)

    def parse(self) -> Node:
        levels = [_Level(0)]
        while True:
            token = self.tokens[self.at]
            level = levels[-1]
            if token.sort == "end":
                if len(levels) > 1:
                    raise self.reject("this bracket is never closed", level.start)
                return self.close(level, token)
            if token.sort == "(":
                if len(levels) > DEEPEST:
                    raise self.reject(f"brackets are nested more than {DEEPEST} deep", token.start)
                levels.append(_Level(token.start))
                self.at += 1
            elif token.sort == ")":
                if len(levels) == 1:
                    raise self.reject("this bracket was never opened", token.start)
                group = self.close(levels.pop(), token)
                self.at += 1
                self.tag_of_a_group()
                self.add(levels[-1], group)
            elif token.sort in ("AND", "OR", "NOT"):
                self.operator(level, token)
                self.at += 1
            elif token.sort == "tag":
                raise self.reject(
                    f"[{_short(token.text)}] stands after no term",
                    token.start,
                    "a field tag follows its term",
                )
            elif token.sort == "colon":
                self.warnings.append("a colon that is no range was ignored")
                self.at += 1
            else:
                self.add(level, self.range() or self.term())

    def close(self, level: _Level, end: Token) -> Node:
        """What a level comes to."""
        if level.operator is not None:
            raise self.reject(f"{level.operator.sort} has nothing on its right", level.operator.start)
        if level.first is None:
            what = "there is nothing between these brackets" if end.sort == ")" else "the query is empty"
            raise self.reject(what, level.start)
        return Chain(level.first, level.rest, level.start, end.end) if level.rest else level.first

    def add(self, level: _Level, node: Node) -> None:
        if level.first is None:
            level.first = node
        else:
            level.rest.append((level.operator.sort if level.operator else "AND", node))
            level.operator = None

    def operator(self, level: _Level, token: Token) -> None:
        before = level.operator
        if before is not None:
            if (before.sort, token.sort) != ("AND", "NOT"):  # AND NOT is NOT
                raise self.reject(f"{before.sort} and {token.sort} stand side by side", token.start)
        elif level.first is None:
            raise self.reject(f"{token.sort} has nothing on its left", token.start)
        level.operator = token

    def tag_of_a_group(self) -> None:
        token = self.tokens[self.at]
        if token.sort == "tag":
            self.tag(token)
            self.warnings.append(
                f"[{token.text}] after a bracket was ignored: a field tag holds for the words right before it"
            )
            self.at += 1

    def tag(self, token: Token) -> _Tag:
        """What a field tag says."""
        name, *more = (part.strip() for part in token.text.split(":"))
        found = field_of(name)
        if found is None:
            if not name:
                raise self.reject("the field tag is empty", token.start)
            near = closest(name.lower(), TAGS) if len(name) < 50 else []
            hint = f"did you mean [{near[0]}]?" if near else "for example [tiab], [mh], [pt], [dp], [au]"
            raise self.reject(f"there is no search field [{_short(name)}]", token.start, hint)
        noexp, distance = False, None
        for part in more:
            if part.lower().replace(" ", "") == "noexp":
                noexp = True
            elif part.startswith("~"):
                distance = self.distance(part[1:].strip(), found, token)
            elif not part.startswith("__"):  # PubMed's own marks: [Journal:__jrid6653]
                raise self.reject(
                    f"`:{_short(part)}` is nothing that [{name}] takes",
                    token.start,
                    "[mh:noexp] is without the more specific headings, [tiab:~3] within 3 words",
                )
        return _Tag(found, noexp, distance, token)

    def distance(self, text: str, found: Field, token: Token) -> int:
        if not found.near:
            raise self.reject(
                f"proximity is not available in [{found.name}]", token.start, "it is in [ti], [tiab] and [ad]"
            )
        if not (text.isascii() and text.isdecimal() and int(text[:9]) <= WIDEST):
            raise self.reject(f"`~{_short(text)}` is no distance: a number from 0 to {WIDEST}", token.start)
        return int(text)

    def range(self) -> Range | None:
        """`low:high` where a field of dates or numbers follows, or None."""
        at, taken, tag = self.at, [], None
        for _ in range(2):
            token = self.tokens[at]
            if token.sort not in ("word", "quote") or (not taken and not _RANGE_END.fullmatch(token.text)):
                return None
            taken.append(token)
            at += 1
            if self.tokens[at].sort == "tag":
                tag = self.tokens[at]
                at += 1
            if len(taken) == 1:
                if self.tokens[at].sort != "colon":
                    return None
                at += 1
        if tag is None or (found := self.tag(tag)).field.kind not in ("date", "pmid", "absent"):
            return None
        self.at = at
        low, high = taken
        return Range(low.text.strip(), high.text.strip(), found.field, low.start, self.tokens[at - 1].end)

    def term(self) -> Node:
        """A quoted term or the words up to something else, with their tag."""
        first = self.tokens[self.at]
        taken: list[Token] = []
        if first.sort == "quote":
            taken.append(first)
            self.at += 1
        while first.sort == "word" and self.tokens[self.at].sort in ("word", "colon"):
            token = self.tokens[self.at]
            if taken and token.sort == "word" and self.starts_range():
                break
            if token.sort == "colon":
                self.warnings.append("a colon that is no range was ignored")
            else:
                if _HISTORY.fullmatch(token.text):
                    raise self.reject(
                        f"`{token.text}` means an earlier search, and there is none here", token.start
                    )
                taken.append(token)
            self.at += 1
        after = self.tokens[self.at]
        if after.sort == "tag":
            self.at += 1
            return self.tagged(taken, self.tag(after))
        if first.sort == "quote":
            return Term(first.text, True, None, first.start, first.end)
        return Words(tuple(t.text for t in taken), tuple(t.start for t in taken), first.start, taken[-1].end)

    def starts_range(self) -> bool:
        """Whether a range starts here; looks only, takes nothing."""
        if not _RANGE_END.fullmatch(self.tokens[self.at].text) or self.tokens[self.at + 1].sort != "colon":
            return False
        at = self.at
        found = self.range()
        self.at = at
        return found is not None

    def tagged(self, taken: list[Token], tag: _Tag) -> Term:
        quoted = taken[0].sort == "quote"
        if tag.near is not None and not quoted:
            raise self.reject(
                "the words of a proximity search stand in quotation marks",
                taken[0].start,
                f'"{_short(" ".join(t.text for t in taken))}"[{tag.token.text}]',
            )
        text = " ".join(t.text for t in taken)
        return Term(text, quoted, tag.field, taken[0].start, tag.token.end, tag.noexp, tag.near)


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def parse(query: str) -> tuple[Node, tuple[str, ...]]:
    """A query as a tree, and what was passed over in it.

    Raises:
        QueryRejected: It cannot be read; with the reason and the place.
    """
    parser = _Parser(query)
    node = parser.parse()
    return node, tuple(dict.fromkeys(parser.warnings))
