"""Rewards for questions with options A, B, C, …"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.rewards.functions import scores
from rewards._reading import inside, normalised

_LETTER = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)\s*(?:is)?\s*:?\s*)?[(\[*]*([A-Z])[)\]*]*"
    r"(?:(?:\s*[.:)]+\s*|\s+[-\u2013]+\s+)(\S.*)?)?",
    re.IGNORECASE | re.DOTALL,
)
_OTHER = re.compile(r"(?<!\w)[(\[]?[A-Z][)\].:,](?!\w)")
_LONGEST = 2000
"""Characters; a longer text in the tag is no choice."""


@scores(0.0, 1.0)
def answer(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    mode: Mode = "strict",
    tag: str | None = "answer",
) -> float:
    """1.0 when the answer tag holds the right option, and no other; else 0.0.

    `B`, `(B)`, `B.`, `Option B` and `B: aspirin` are read as B. Where the options' texts are known,
    the text alone is an answer too, and a letter with another option's text is none.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: The letter; or {"answer": letter, "options": {letter: text}}.
        extra_info: Its `options`, {letter: text} or a list of texts, when the ground truth has none.
        mode: As in `rewards.pubmedqa.answer`.
        tag: The tag's name; None: the whole text is the answer.

    Raises:
        ValueError: The ground truth is no letter, or none of the options.
    """
    letter, options = _truth(ground_truth, extra_info)
    text = inside(solution_str, tag, mode)
    return float(text is not None and _choice(text, options) == letter)


def _choice(text: str, options: Mapping[str, str]) -> str | None:
    """The letter that a text chooses, or None when it chooses none or several."""
    text = " ".join(text.split()) if len(text) <= _LONGEST else ""
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


def _truth(truth: Any, extra: Any) -> tuple[str, dict[str, str]]:
    options: Any = extra.get("options") if isinstance(extra, Mapping) else None
    if isinstance(truth, Mapping):
        options = truth.get("options", options)
        truth = truth.get("answer")
    letter = str(truth).strip().upper() if isinstance(truth, str) else ""
    if isinstance(options, list | tuple):
        options = {chr(ord("A") + index): text for index, text in enumerate(options)}
    known = {}
    if isinstance(options, Mapping):
        # A row of parquet has every letter that any row has, empty where there is none.
        known = {str(key).strip().upper(): str(text) for key, text in options.items() if text is not None}
    if not re.fullmatch("[A-Z]", letter) or (known and letter not in known):
        wanted = f"one of {', '.join(known)}" if known else "a letter from A to Z"
        raise ValueError(f"the ground truth is {truth!r:.80}, and must be {wanted}")
    return letter, known
