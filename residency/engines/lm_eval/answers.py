"""What a model answered: the label within `<answer>…</answer>`, or nothing.

An answer is read or it is not; a label is never looked for in running text, where "yes" stands
in "yesterday" and "no" in "not yes". What cannot be read counts as wrong and is counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Literal

Mode = Literal["strict", "lenient"]

TAG = "answer"

_EDGE = " \t\r\n\f\v.,;:!?\"'`*()[]"


@cache
def _marks(tag: str) -> re.Pattern[str]:
    return re.compile(rf"<\s*(?:(/)\s*)?{re.escape(tag)}\s*>", re.IGNORECASE)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


def within_tag(text: str, *, mode: Mode = "strict", tag: str = TAG) -> str | None:
    """The text within the answer tag, or None.

    strict: there is exactly one opening and one closing tag, in that order; what stands before
    and after them does not matter. lenient: what follows the last opening tag, up to the closing
    tag or, where it was cut off, to the end. Tags are read whatever their case and inner spaces.
    """
    marks = list(_marks(tag).finditer(text))
    if mode == "strict":
        if len(marks) != 2 or marks[0].group(1) or not marks[1].group(1):
            return None
        return text[marks[0].end() : marks[1].start()]
    opening = next((i for i in range(len(marks) - 1, -1, -1) if not marks[i].group(1)), None)
    if opening is None:
        return None
    end = marks[opening + 1].start() if opening + 1 < len(marks) else len(text)
    return text[marks[opening].end() : end]


def extract(text: str, labels: Iterable[str], *, mode: Mode = "strict", tag: str = TAG) -> str | None:
    """The one of `labels` that stands within the answer tag, or None where there is none.

    The whole text within the tag must be the label, whatever its case and spaces; in lenient
    mode punctuation and quotes around it are dropped too (`<answer> "Yes." </answer>`).

    Args:
        text: What the model wrote.
        labels: The allowed labels; the one found is returned as it is spelled here.
        mode: See `within_tag`.
        tag: The tag's name.
    """
    inside = within_tag(text, mode=mode, tag=tag)
    if inside is None:
        return None
    said = _plain(inside.strip(_EDGE) if mode == "lenient" else inside)
    return next((label for label in labels if _plain(label) == said), None)
