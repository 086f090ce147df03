"""How good a verifier is, measured on held-out rows as the reward will use it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.engines.transformers.verifier.rows import Example
from residency.files import atomic
from residency.stats import SMALL_SAMPLE, wilson
from residency.verifier.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a verifier."""

    figures: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def measure(model: Path, held: Sequence[Example], predictions: Path, stage: Mapping[str, Any]) -> Measured:
    """Load the verifier afresh, ask it about every held-out row, and write down what it said.

    Args:
        model: The verifier's folder.
        held: The held-out rows.
        predictions: The file for {"response", "reference", "label", "probability", "right"}.
        stage: Holds `threshold` and `threads`.
    """
    loaded = Classifier(str(model), device="cpu" if stage["cpu"] else "auto")
    found = loaded.probabilities(
        [(row.response, row.reference) for row in held], threads=stage["threads"], batch_size=16
    )
    with atomic(predictions) as stream:
        for row, value in zip(held, found, strict=True):
            said = value > stage["threshold"]
            line = {
                "response": row.response,
                "reference": row.reference,
                "label": row.right,
                "probability": round(value, 6),
                "correct": said == row.right,
            }
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")
    return judge([row.right for row in held], found, stage["threshold"])


def judge(labels: Sequence[bool], probabilities: Sequence[float], threshold: float) -> Measured:
    """Accuracy at the threshold with its 95 % Wilson interval, and the share of either mistake.

    `false_pass` is the share of wrong responses that pass, which training would learn to exploit;
    `false_fail` that of right ones that do not. Either is None where there is no such row.
    """
    said = [value > threshold for value in probabilities]
    n, right = len(labels), sum(labels)
    hits = sum(a == b for a, b in zip(labels, said, strict=True))
    passed = sum(b and not a for a, b in zip(labels, said, strict=True))
    failed = sum(a and not b for a, b in zip(labels, said, strict=True))
    low, high = wilson(hits, n)
    figures: dict[str, Any] = {
        "accuracy": hits / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "n": n,
        "threshold": threshold,
        "false_pass": passed / (n - right) if n > right else None,
        "false_fail": failed / right if right else None,
    }
    warnings = []
    larger = max(right, n - right) / n
    if low <= larger:
        warnings.append(
            f"the verifier is right on {hits / n:.1%} of {n:,} held-out rows (95 % interval {low:.1%} to "
            f"{high:.1%}), and one answer to all of them would be on {larger:.1%}: it may have learnt nothing"
        )
    elif n < SMALL_SAMPLE:
        warnings.append(f"the verifier is measured on {n} rows alone: {low:.1%} to {high:.1%} at 95 %")
    return Measured(figures, warnings)
