"""Filters for answers that a model wrote, named under `filters:` of a `generate` recipe."""

from __future__ import annotations

import re
from typing import Any

from residency.processing import Positive, Row


def words(row: Row, sample: Row, *, least: int = 1, most: Positive = 100_000) -> bool:
    """Whether an answer has so many words.

    Args:
        row: Not used.
        sample: The answer.
        least: The fewest.
        most: The most.
    """
    return least <= len(str(sample["text"]).split()) <= most


def ended(row: Row, sample: Row) -> bool:
    """Whether an answer came to its end by itself, and was not cut off at `max_tokens`."""
    return sample.get("finish_reason") != "length"


def question(row: Row, sample: Row) -> bool:
    """Whether an answer is one question: a single line that ends with a question mark."""
    text = str(sample["text"]).strip()
    return text.endswith("?") and "\n" not in text


def grounded(row: Row, sample: Row, *, column: str = "abstract") -> float:
    """The share of an answer's numbers that the source has too; 1.0 for an answer without numbers.

    A coarse check against invented figures: 12, 3.5 and 0.05 are looked for as they are written.

    Args:
        row: The row of the dataset, with the source.
        sample: The answer.
        column: The row's column that holds the source.
    """
    numbers = re.findall(r"\d+(?:\.\d+)?", str(sample["text"]))
    there = set(re.findall(r"\d+(?:\.\d+)?", _text(row.get(column))))
    return sum(number in there for number in numbers) / len(numbers) if numbers else 1.0


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(_text(part) for part in value)
    return " ".join(map(_text, value.values())) if isinstance(value, dict) else str(value or "")
