"""Rewards for questions whose answer is a number."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.rewards.functions import scores
from rewards._reading import inside
from rewards.sample_size import NUMBER

_LONGEST = 400
"""Characters; a longer text in the tag is no number."""


@scores(0.0, 1.0)
def answer(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    tolerance: float = 0.01,
    mode: Mode = "strict",
    tag: str | None = "answer",
) -> float:
    """1.0 when the answer tag holds one number within `tolerance` of the right one; else 0.0.

    A unit may stand beside it; a sign counts; where several numbers stand none is picked.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: A number, or a text that holds one: `-4.5`, "1,538", {"target": 12}.
        extra_info: Not used.
        tolerance: The share of the right number by which the answer may be off, inclusive; 0:
            the numbers are equal. Where the right one is 0, only 0 is right.
        mode: As in `rewards.pubmedqa.answer`.
        tag: The tag's name; None: the whole text is the answer.

    Raises:
        ValueError: The ground truth is no number, or the tolerance is below 0.
    """
    if not tolerance >= 0:
        raise ValueError(f"`tolerance` is {tolerance}, and must be 0 or more")
    target = _target(ground_truth)
    text = inside(solution_str, tag, mode)
    given = None if text is None else _number(text)
    # The bounds count as within; 1e-9 is what floating point may add.
    return float(given is not None and abs(given - target) <= (tolerance + 1e-9) * abs(target))


def _number(text: str) -> float | None:
    """The one number that a text holds; None for none or several."""
    if len(text) > _LONGEST:
        return None
    found = list(NUMBER.finditer(text))
    if len(found) != 1:
        return None
    value = float(re.sub(r"[,\s]", "", found[0][2]))
    if not math.isfinite(value):
        return None
    return -value if found[0][1] in ("-", "\u2212") else value


def _target(truth: Any) -> float:
    if isinstance(truth, Mapping):
        truth = truth.get("target")
    value = _number(truth) if isinstance(truth, str) else truth
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError(f"the ground truth is {truth!r:.80}, and must be a number")
