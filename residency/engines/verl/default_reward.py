"""verl's own rewards as a reward function: what a launch script without one of its own is scored by."""

from __future__ import annotations

from typing import Any


def score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: dict[str, Any] | None = None
) -> float | dict[str, Any]:
    """The score that verl gives by the data source (`openai/gsm8k`, `lighteval/MATH`, …).

    Raises:
        NotImplementedError: verl has no reward for that data source.
    """
    from verl.utils.reward_score import default_compute_score

    found: Any = default_compute_score(  # type: ignore[no-untyped-call,unused-ignore]
        data_source, solution_str, ground_truth, extra_info
    )
    if isinstance(found, dict):
        return found
    return float(found[0] if isinstance(found, list | tuple) else found)
