"""Rewards for short answers in words: exact match after normalisation, and overlap of words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.rewards.functions import scores
from rewards._reading import inside, last, normalised, texts

_WHOLE = frozenset({"yes", "no", "noanswer"})


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
    """1.0 when the answer equals a right one but for case, punctuation, articles and spaces; else 0.0.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: The right answer, a list of them, or {"target": …} with either.
        extra_info: Not used.
        mode: As in `rewards.pubmedqa.answer`.
        tag: The tag's name; None: the whole text is the answer.

    Raises:
        ValueError: The ground truth is no text.
    """
    right = {normalised(one) for one in texts(ground_truth)}
    text = inside(solution_str, tag, mode)
    return float(text is not None and bool(text.strip()) and normalised(text) in right)


@scores(0.0, 1.0)
def f1(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    mode: Mode = "strict",
    tag: str | None = "answer",
) -> float:
    """The F1 of the answer's words against those of the right answer that is nearest: 0 … 1.

    Words as after `answer`'s normalisation, each as often as it occurs (SQuAD's F1). Yes and no
    are right or wrong as a whole (as in HotpotQA's evaluation, Yang et al., EMNLP 2018), so that
    "yes no" earns nothing. Arguments as for `answer`.
    """
    right = [normalised(one) for one in texts(ground_truth)]
    text = inside(solution_str, tag, mode)
    if text is None:
        return 0.0
    given = normalised(text)
    return max(_overlap(given, one) for one in right)


def _overlap(given: str, right: str) -> float:
    if given == right:
        return 1.0
    if given in _WHOLE or right in _WHOLE:
        return 0.0
    a, b = given.split(), right.split()
    same = sum((Counter(a) & Counter(b)).values())
    return 2 * same / (len(a) + len(b)) if same else 0.0


@scores(0.0, 1.0)
def published(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    whole: bool = False,
) -> float:
    """Search-R1's exact match as Dr. Zero's solver is rewarded: the last answer tag counts; 1.0 or 0.0.

    It differs from `answer` in that earlier answers in the same text do not matter, and in what
    it makes of a ground truth like "A", from which nothing is left. (Search-R1's own version
    wants a second answer tag, since it reads the prompt too, which holds an example.)

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: As for `answer`.
        extra_info: Not used.
        whole: Without an answer tag, the whole text is the answer (as Dr. Zero's challenger
            takes its solver's).
    """
    right = {normalised(one, published=True) for one in texts(ground_truth)}
    text = last(solution_str)
    if text is None:
        if not whole:
            return 0.0
        text = solution_str
    return float(normalised(text, published=True) in right)
