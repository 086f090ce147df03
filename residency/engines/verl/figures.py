"""The figures by which a finished training is known: what `show` lists and `diff` sets side by side."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Rows = Sequence[Mapping[str, Any]]

TAIL = ("response_length", "kl", "entropy")
"""Told as the mean over the last tenth of the steps."""
WHOLE = ("zero_variance_groups", "unavailable", "tokens_per_second")
"""Told as the mean over all steps."""


def final(rows: Rows, steps: int) -> dict[str, Any]:
    """The figures of a training.

    Args:
        rows: Those of metrics.jsonl (`history.rows`).
        steps: The last step.

    Returns:
        `reward` and `components` are means over the last tenth of the steps, one step at least,
        and `first_reward` and `first_components` over the first; `validation` has the reward of
        the first and the last one, and how many answers it is the mean of.
    """
    found: dict[str, Any] = {"steps": steps}
    trained = [row for row in rows if "reward" in row]
    if trained:
        size = max(1, len(trained) // 10)
        first, last = trained[:size], trained[-size:]
        found |= {"first_reward": _mean(first, "reward"), "reward": _mean(last, "reward")}
        found |= {"first_components": _components(first), "components": _components(last)}
        found |= {key: _mean(last, key) for key in TAIL} | {key: _mean(trained, key) for key in WHOLE}
        found["train_seconds"] = trained[-1].get("seconds")
    validated = [row for row in rows if "validation/total/mean" in row]
    if validated:
        n = validated[-1].get("validation/n")
        found["validation"] = {
            "first": validated[0]["validation/total/mean"],
            "last": validated[-1]["validation/total/mean"],
            "n": None if n is None else int(n),
        }
    return {key: value for key, value in found.items() if value is not None and value != {}}


def _components(rows: Rows) -> dict[str, float]:
    names = dict.fromkeys(key for row in rows for key in row if _is_component(key))
    means = {key: _mean(rows, key) for key in names}
    return {key.split("/", 1)[1].rsplit("/", 1)[0]: mean for key, mean in means.items() if mean is not None}


def _is_component(key: str) -> bool:
    return key.startswith("rewards/") and key.endswith("/mean") and key != "rewards/total/mean"


def _mean(rows: Iterable[Mapping[str, Any]], key: str) -> float | None:
    values = [float(row[key]) for row in rows if key in row]
    return math.fsum(values) / len(values) if values else None
