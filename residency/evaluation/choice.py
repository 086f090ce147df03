"""The option that a short text chooses: `B`, `(B)`, `B.`, `Option B`, `B: aspirin`, or the option's text."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping

LONGEST = 2000
"""Characters; a longer text is no choice."""

_LETTER = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is)?\s*:?\s*)?[(\[*]*([A-Z])[)\]*]*"
    r"(?:(?:\s*[.:)]+\s*|\s+[-\u2013]+\s+)(\S.*)?)?",
    re.IGNORECASE | re.DOTALL,
)
_OTHER = re.compile(r"(?<!\w)[(\[]?[A-Z][)\].:,](?!\w)")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def choice(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a whole text chooses, or None when it chooses none or several.

    Where the options' texts are known, the text alone is an answer too; a letter that is not among
    them is none, and neither is a letter with another option's text.

    Args:
        text: What was said, and nothing else: no letter is looked for in running text.
        options: Letter → text; empty where the texts are not known.
    """
    text = " ".join(text.split()) if len(text) <= LONGEST else ""
    if not text:
        return None
    # "A. a beta blocker" is no "beta blocker", and "C-reactive protein" no C: articles count at first.
    for plain in (_plain, normalised):
        same = [letter for letter, option in options.items() if plain(option) == plain(text)]
        if len(same) == 1 and len(text) > 1:
            return same[0]
        if found := _LETTER.fullmatch(text):
            return _lettered(found[1].upper(), found[2], options)
    return None


def _lettered(letter: str, rest: str | None, options: Mapping[str, str]) -> str | None:
    """The letter, unless what follows it says otherwise."""
    if options:
        agrees = letter in options and (not rest or normalised(rest) == normalised(options[letter]))
        return letter if agrees else None
    if rest and (_OTHER.search(rest) or _LETTER.fullmatch(rest)):
        return None  # another option is named too
    return letter


def _plain(text: str) -> str:
    """Lower case without punctuation."""
    return " ".join(re.sub(r"[^\w\s]", "", text.lower()).split())


def normalised(text: str, *, published: bool = False) -> str:
    """Lower case, without punctuation, without articles, single spaces, in this order.

    The normalisation of SQuAD's evaluation (Rajpurkar et al., EMNLP 2016), as Dr. Zero and
    Search-R1 use it. It makes nothing of the answer "A"; here, but for `published`, what would
    be left without articles and punctuation must not be nothing.
    """
    plain = text.lower().translate(_NO_PUNCTUATION)
    bare = " ".join(_ARTICLES.sub(" ", plain).split())
    if bare or published:
        return bare
    return " ".join(plain.split()) or " ".join(text.lower().split())
