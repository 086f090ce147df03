"""Rewards for the yes/no questions about studies that `processors.study_questions` makes."""

from __future__ import annotations

from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.rewards.functions import scores
from rewards._reading import right, said

LABELS = ("yes", "no")


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
    """1.0 when the answer tag holds the right one of yes and no, and nothing else; else 0.0.

    Args:
        data_source: Not used.
        solution_str: The answer, read as evaluation reads it (recipes/tasks/study_questions.yaml).
        ground_truth: `yes` or `no`, or a whole gold answer with its tag.
        extra_info: Not used.
        mode: As in `rewards.pubmedqa.answer`.
        tag: The tag's name; None: the whole text is the answer.

    Raises:
        ValueError: The ground truth is neither.
    """
    return float(said(solution_str, LABELS, mode, tag) == right(ground_truth, LABELS))
