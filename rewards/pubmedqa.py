"""Rewards for PubMedQA (Jin et al., EMNLP 2019): yes, no or maybe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from residency.engines.lm_eval.answers import Mode
from residency.rewards.functions import scores
from rewards._reading import right, said

LABELS = ("yes", "no", "maybe")
MARKERS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")


@scores(0.0, 1.0)
def answer(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    labels: Sequence[str] = LABELS,
    mode: Mode = "strict",
    tag: str | None = "answer",
) -> float:
    """1.0 when the answer tag holds the right label and nothing else; else 0.0.

    The answer is read as evaluation reads it: a label is never looked for in running text, where
    "no" stands in "not" and "yes" in the question.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: One of `labels`.
        extra_info: Not used.
        labels: The labels.
        mode: `strict`: the tag opens and closes once. `lenient`: the last one counts, closed or
            not, and punctuation around the label does not matter.
        tag: The tag's name; None: the whole text is the answer.

    Raises:
        ValueError: The ground truth is none of the labels.
    """
    return float(said(solution_str, labels, mode, tag) == right(ground_truth, labels))


@scores(0.0, lambda args: args["correctness"] + 4 * args["marker"])
def published(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    correctness: float = 2.0,
    marker: float = 0.2,
) -> dict[str, float]:
    """The reward of the published single-card system, with its fault, for comparison: 0 … 2.8.

    2.0 when the label found is right, and 0.2 for each of `<reasoning>`, `</reasoning>`,
    `<answer>`, `</answer>` that stands anywhere. The label is "yes" where the text holds "yes",
    else "no" where it holds "no" (as in "know"), in lower case, tags or no tags; "maybe" is
    never found. It cannot pass the gold check; `answer` with `rewards.format` is what is meant.
    """
    truth = right(ground_truth, LABELS)
    found = "yes" if "yes" in solution_str else "no" if "no" in solution_str else None
    correct = correctness if found == truth else 0.0
    form = marker * sum(one in solution_str for one in MARKERS)
    return {"score": correct + form, "correctness": correct, "format": form}
