"""Text without what a careless copy changes: case, spaces, punctuation, accents, Unicode's variants.

`letters` is what two texts are compared by. It has no spaces at all, so that `double-blind`,
`double blind` and `doubleblind` are the same.
"""

from __future__ import annotations

import re
import string
import unicodedata

_KEPT = string.ascii_letters + string.digits
_DROP = bytes(set(range(128)) - set(_KEPT.encode()))
_LOWER = bytes(range(256)).lower()
_OTHER = re.compile(r"[\W_]+")
# Two characters of a script without spaces make one word.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,2}|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


def _plain(text: str) -> str:
    """Compatibility forms taken apart, lower case, without marks, invisible signs and apostrophes."""
    found = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(
        c
        for c in found
        if c.isascii() or (unicodedata.category(c) not in ("Mn", "Cf", "Cs") and c != "\u02bc")
    )


def letters(text: str) -> bytes:
    """The letters and digits of a text, in lower case, as UTF-8; it never holds a zero byte."""
    if text.isascii():
        return text.encode().translate(_LOWER, _DROP)
    return _OTHER.sub("", _plain(text)).encode()


def words(text: str) -> list[str]:
    """The words of a text; joined they are its `letters`."""
    return _WORD.findall(text.lower() if text.isascii() else _plain(text))


def excerpt(text: str, wanted: bytes) -> str:
    """The stretch of `text` whose letters are `wanted`, as it is written; empty when there is none."""
    places: list[int] = []
    made = bytearray()
    for place, character in enumerate(text):
        found = letters(character)
        made += found
        places += [place] * len(found)
    start = made.find(wanted)
    if start < 0 or not wanted:
        return ""
    return text[places[start] : places[start + len(wanted) - 1] + 1]
