"""Texts as words: what both the records and the queries go through.

A word is a run of letters and digits, in lower case, its accents taken off; all else parts words,
the hyphen and the apostrophe too. So `Follow-up` is the two words `follow up`, in a record as in a
query, and a hyphenated word in a query is a phrase, as in PubMed.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_PATTERN = re.compile(r"[^\W_]+(?:\*+[^\W_]+)*\*?")

_STOP = """
a about again all almost also although always among an and another any are as at be because been
before being between both but by can could did do does done due during each either enough especially
etc for found from further had has have having here how however i if in into is it its itself just kg
km made mainly make may mg might ml mm most mostly must nearly neither no nor obtained of often on our
overall perhaps pmid quite rather really regarding seem seen several should show showed shown shows
significantly since so some such than that the their theirs them then there therefore these they this
those through thus to upon various very was we were what when which while with within without
would
"""
STOPWORDS = frozenset(_STOP.split())
"""PubMed's stop words, as its user guide lists them."""


def fold(text: str) -> str:
    """Lower case, without accents: `Ménière` is `meniere`."""
    if text.isascii():
        return text.lower()
    # Lower case on both sides: some letters decompose into capitals, some capitals into several letters.
    parts = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    return "".join(c for c in parts if not unicodedata.combining(c))


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(fold(text))


def patterns(text: str) -> list[str]:
    """The words of a query's term, each with its `*` where it has any: `organi*ation`, `therap*`."""
    return _PATTERN.findall(fold(text))


def key(text: str) -> str:
    """A name as it is looked up: its words with a blank between."""
    return " ".join(words(text))
