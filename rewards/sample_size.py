"""Rewards for estimating the sample size of a trial: within 20 % of the right one, inclusive.

After TrialPanorama (arXiv:2505.16097).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.rewards.functions import scores
from rewards._reading import inside, last

# 1,500 or 1 500 (also with the narrow spaces that journals use), 408.8, 1.5e3; with its sign, and
# with a per cent sign where there is one.
NUMBER = re.compile(
    r"(?<![\w.,])([-\u2212+]?)"
    r"((?:\d{1,3}(?:[, \u00a0\u2009\u202f]\d{3})+|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)"
    r"(?!\w|[.,]\d)(\s?%)?"
)
_FIRST = re.compile(r"\d+(?:\.\d+)?")
_HEADERS = ("Assistant:", "<|im_start|>assistant", "<|start_header_id|>assistant<|end_header_id|>")
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_LONGEST = 400
"""Characters; a longer text in the tag is no number."""


@scores(0.0, 1.0)
def answer(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    tolerance: float = 0.2,
    mode: Mode = "strict",
    tag: str | None = "answer",
) -> float:
    """1.0 when the answer tag holds one number within `tolerance` of the right one; else 0.0.

    It differs from `published`: the form is left to `rewards.format`; where several numbers
    stand ("120 to 150", "95% power, N = 200, alpha 0.05") none is picked, per cents aside; a
    negative number is none; 1.5e3 is 1500; and a ground truth that is no number is an error, not
    a penalty for the model.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: A number above 0, or a text that holds one: `511`, "1,538", {"target": 511}.
        extra_info: Not used.
        tolerance: The share of the right number by which the answer may be off, inclusive.
        mode: As in `rewards.pubmedqa.answer`.
        tag: The tag's name; None: the whole text is the answer.

    Raises:
        ValueError: The ground truth is no number above 0.
    """
    target = _target(ground_truth)
    text = inside(solution_str, tag, mode)
    given = None if text is None else number(text)
    # The bounds count as within: 1.2 · 3 is 3.5999999999999996 in floating point.
    return float(given is not None and abs(given - target) <= tolerance * target * (1 + 1e-9))


def number(text: str) -> float | None:
    """The one number that a text holds, per cents aside; None for none, several, or one below 0."""
    if len(text) > _LONGEST:
        return None
    found = [match for match in NUMBER.finditer(text) if not match[3]]
    if len(found) != 1 or found[0][1] in ("-", "\u2212"):
        return None
    value = float(re.sub(r"[,\s]", "", found[0][2]))
    return value if math.isfinite(value) else None


def _target(truth: Any) -> float:
    if isinstance(truth, Mapping):
        truth = truth.get("target")
    value = number(truth) if isinstance(truth, str) else truth
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = float(value)
        if math.isfinite(value) and value > 0:
            return value
    raise ValueError(f"the ground truth is {truth!r:.80}, and must be a number above 0")


@scores(-2.0, lambda args: args["format_reward"] + args["correct_reward"])
def published(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    format_reward: float = 0.1,
    correct_reward: float = 1.0,
) -> float:
    """TrialPanorama's reward: 1.1 when right, 0 when wrong but in form, -2 when out of form.

    In form: `<think>`, `</think>`, `<answer>`, `</answer>` each once and in order. The number is
    the first in the last answer, commas and spaces taken out: of "120 to 150" it is 120, of "-5"
    it is 5, of "95% power N=200" it is 95. Right: 0.8 to 1.2 times the target, both included. A
    ground truth that is no number gives -2.
    """
    text = _after_header(solution_str)
    if isinstance(ground_truth, Mapping):
        ground_truth = ground_truth.get("target")
    try:
        target = float(str(ground_truth).replace(",", ""))
    except ValueError:
        return -2.0
    places = [text.find(tag) for tag in _TAGS]
    if any(text.count(tag) != 1 for tag in _TAGS) or places != sorted(places):
        return -2.0
    found = _FIRST.search((last(text) or "").replace(",", "").replace(" ", ""))
    if found is None:
        return 0.0
    right = 0.8 * target <= float(found[0]) <= 1.2 * target
    return format_reward + correct_reward if right else 0.0


def _after_header(text: str) -> str:
    """What follows the first mark that the assistant's turn begins."""
    for header in _HEADERS:
        _, mark, rest = text.partition(header)
        if mark:
            return rest
    return text
