"""A query as tokens, each with its place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from residency.retrieval.boolean.engine import QueryRejected

Sort = Literal["(", ")", "AND", "OR", "NOT", "tag", "quote", "colon", "word", "end"]

LONGEST = 200_000
"""Characters of a query; a longer one is refused before it is read."""

_QUOTES = str.maketrans(dict.fromkeys("“”„‟″＂«»", '"') | {"［": "[", "］": "]", "（": "(", "）": ")"})
_TOKEN = re.compile(
    r"""(?P<open>\() | (?P<close>\)) | (?P<tag>\[[^\[\]]*\]) | (?P<quote>"[^"]*") | (?P<and>&+) | (?P<or>\|+)
        | (?P<colon>:) | (?P<word>[^\s()\[\]":&|]+) | (?P<bad>[\["\]])""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a query. `text` is without quotation marks or brackets."""

    sort: Sort
    text: str
    start: int
    end: int


def straighten(query: str) -> str:
    """Typographic quotation marks and wide brackets as plain ones, each in its place."""
    return query.translate(_QUOTES)


def tokens(query: str) -> list[Token]:
    """The tokens of a query (see `straighten`), closed by one of the sort `end`.

    Raises:
        QueryRejected: It is too long, or a quotation mark or a square bracket stands alone.
    """
    if len(query) > LONGEST:
        raise QueryRejected(
            f"the query has {len(query):,} characters; at most {LONGEST:,} are taken", LONGEST, query
        )
    found: list[Token] = []
    for match in _TOKEN.finditer(query):
        kind, text, start, end = match.lastgroup, match.group(), match.start(), match.end()
        if kind == "word":
            sort: Sort = text if text in ("AND", "OR", "NOT") else "word"  # type: ignore[assignment]
            found.append(Token(sort, text, start, end))
        elif kind in ("tag", "quote"):
            found.append(Token(kind, text[1:-1], start, end))  # type: ignore[arg-type]
        elif kind in ("open", "close"):
            found.append(Token(text, text, start, end))  # type: ignore[arg-type]
        elif kind in ("and", "or"):
            found.append(Token(kind.upper(), text, start, end))  # type: ignore[arg-type]
        elif kind == "colon":
            found.append(Token("colon", text, start, end))
        elif text == '"':
            raise QueryRejected("the quotation mark is never closed", start, query)
        elif text == "[":
            raise QueryRejected("the square bracket is never closed", start, query)
        else:
            raise QueryRejected("this square bracket was never opened", start, query)
    found.append(Token("end", "", len(query), len(query)))
    return found
