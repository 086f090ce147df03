"""Penalties for long answers: 0 for a short one, less for a longer one.

They see the text, not its tokens: a length is given in words (parted by blanks) or in characters.
An answer as long as `free` loses nothing, so that a gold answer can score the maximum.
"""

from __future__ import annotations

import math
from typing import Any

from residency.rewards.functions import scores
from rewards._reading import Unit, length


@scores(-1.0, 0.0)
def linear(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    free: int,
    most: int,
    unit: Unit = "words",
) -> float:
    """0 up to `free`, then straight down to -1 at `most` and beyond.

    The soft punishment of overlong answers of DAPO (Yu et al., 2025, arXiv:2503.14476),
    with `free` = its longest length less its buffer.
    """
    return 0.0 - _over(solution_str, free, most, unit)


@scores(-1.0, 0.0)
def cosine(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    free: int,
    most: int,
    unit: Unit = "words",
) -> float:
    """0 up to `free`, then down along half a cosine to -1 at `most` and beyond.

    The shape of the length rewards of Yeo et al. (2025, arXiv:2502.03373): little is
    lost just above `free` and little more just below `most`.
    """
    return (math.cos(math.pi * _over(solution_str, free, most, unit)) - 1) / 2


@scores(lambda args: args["lowest"], 0.0)
def per_word(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    free: int = 50,
    each: float = 0.01,
    lowest: float = -1.0,
) -> float:
    """`-each` for every word above `free`, `lowest` at the least: a published variant of PubMedQA GRPO.

    That variant knows no `lowest`.
    """
    return max(lowest, -each * max(0, length(solution_str, "words") - free)) + 0.0


def _over(text: str, free: int, most: int, unit: Unit) -> float:
    """How far a text is from `free` to `most`: 0 … 1."""
    if not 0 <= free < most:
        raise ValueError(f"`free` ({free}) must be less than `most` ({most})")
    return min(1.0, max(0.0, (length(text, unit) - free) / (most - free)))
