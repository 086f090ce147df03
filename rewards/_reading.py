"""How an answer and a ground truth are read; what the reward functions share.

Nothing here looks for an answer in running text. The time it takes grows with the text's
length and no faster, whatever a model may write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from residency.engines.lm_eval.answers import Mode, extract, within_tag
from residency.evaluation.choice import normalised as normalised


def inside(text: str, tag: str | None, mode: Mode = "strict") -> str | None:
    """The text within the tag, as evaluation reads it; the whole text when no tag is named."""
    return text if tag is None else within_tag(text, mode=mode, tag=tag)


def last(text: str, tag: str = "answer") -> str | None:
    """The text within the last `<tag>…</tag>`, as the published systems read it.

    The same as the last match of `<tag>(.*?)</tag>`, in a time that grows with the length alone.
    """
    opening, closing = f"<{tag}>", f"</{tag}>"
    found, at = None, 0
    while (start := text.find(opening, at)) >= 0:
        start += len(opening)
        end = text.find(closing, start)
        if end < 0:
            break
        found, at = text[start:end], end + len(closing)
    return found


def said(text: str, labels: Sequence[str], mode: Mode, tag: str | None) -> str | None:
    """The one of `labels` that the answer gives, or None."""
    if tag is None:
        text, tag = f"<answer>{text}</answer>", "answer"
    return extract(text, labels, mode=mode, tag=tag)


def right(truth: Any, labels: Sequence[str]) -> str:
    """The ground truth as one of `labels`; a whole gold answer with its tag will do.

    Raises:
        ValueError: It is none of them.
    """
    if isinstance(truth, str):
        plain = " ".join(truth.split()).casefold()
        for one in labels:
            if one.casefold() == plain:
                return one
        found = extract(truth, labels)
        if found is not None:
            return found
    raise ValueError(f"the ground truth is {truth!r:.80}, and must be one of {', '.join(labels)}")


def texts(truth: Any) -> list[str]:
    """The ground truth as the texts that are right: a text, a number, a list, or {"target": …}.

    Raises:
        ValueError: It is nothing of the kind.
    """
    if isinstance(truth, Mapping) and "target" in truth:
        truth = truth["target"]
    many = truth if isinstance(truth, list | tuple) else [truth]
    found = [str(one) for one in many if isinstance(one, str | int | float) and str(one).strip()]
    if not found or len(found) != len(many):
        raise ValueError(f"the ground truth is {truth!r:.80}, and must be a text or a list of texts")
    return found


Unit = Literal["words", "characters"]


def length(text: str, unit: Unit) -> int:
    """How many words (parted by blanks) or characters a text has."""
    if unit == "words":
        return len(text.split())
    if unit == "characters":
        return len(text)
    raise ValueError(f"`unit` is {unit!r}, and must be words or characters")
