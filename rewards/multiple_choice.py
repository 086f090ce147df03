"""Rewards for questions with options A, B, C, …"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.evaluation.choice import choice
from residency.rewards.functions import scores
from rewards._reading import inside


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
    return float(text is not None and choice(text, options) == letter)


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
