"""Rewards for the form of an answer, whatever it says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from residency.rewards.functions import scores
from rewards._reading import inside

THINKING = "## Thinking"
FINAL = "## Final Response\n\n"


def _markers(tags: Sequence[str]) -> list[str]:
    """Opening and closing tags, in the order in which they must stand."""
    if not tags or isinstance(tags, str):
        raise ValueError(f"`tags` is {tags!r}, and must be a list of names")
    return [f"<{mark}{tag}>" for tag in tags for mark in ("", "/")]


def _in_order(text: str, markers: Sequence[str]) -> bool:
    """Whether the markers stand one after the other."""
    at = 0
    for marker in markers:
        at = text.find(marker, at)
        if at < 0:
            return False
        at += len(marker)
    return True


@scores(0.0, 1.0)
def xml_tags(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    tags: Sequence[str] = ("think", "answer"),
    alone: bool = False,
) -> float:
    """1.0 when each tag opens once and closes once, in the order given, with text in it; else 0.0.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: Not used.
        extra_info: Not used.
        tags: The tags' names, in order; `<think>…</think><answer>…</answer>` by default.
        alone: Nothing but blanks may stand before, between and after them.
    """
    markers = _markers(tags)
    if any(solution_str.count(marker) != 1 for marker in markers) or not _in_order(solution_str, markers):
        return 0.0
    rest, outside = solution_str, ""
    for opening, closing in zip(markers[::2], markers[1::2], strict=True):
        before, _, rest = rest.partition(opening)
        within, _, rest = rest.partition(closing)
        outside += before
        if not within.strip():
            return 0.0
    return 0.0 if alone and (outside + rest).strip() else 1.0


@scores(0.0, 1.0)
def partial_tags(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    tags: Sequence[str] = ("think", "answer"),
) -> float:
    """The share of opening and closing tags that stand exactly once; half of it when out of order.

    A model that has not yet learnt the form gets something for each step towards it, and a tag
    that is repeated earns nothing.
    """
    markers = _markers(tags)
    once = [marker for marker in markers if solution_str.count(marker) == 1]
    share = len(once) / len(markers)
    return share if _in_order(solution_str, once) else share / 2


@scores(0.0, 1.0)
def json_object(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Any = None,
    *,
    keys: Sequence[str] = (),
    tag: str | None = None,
) -> float:
    """1.0 when the answer is a JSON object that has all of `keys`; else 0.0.

    Args:
        data_source: Not used.
        solution_str: The answer.
        ground_truth: Not used.
        extra_info: Not used.
        keys: Keys that must be there.
        tag: The tag that holds the object, once; None: the whole answer is the object.
    """
    text = inside(solution_str, tag)
    try:
        value = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return 0.0
    return float(isinstance(value, dict) and all(key in value for key in keys))


@scores(0.0, 1.0)
def huatuo(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> float:
    """1.0 for exactly one `## Thinking` and one `## Final Response` with an empty line after it.

    The gate of HuatuoGPT-o1's PPO (Chen et al., 2024, arXiv:2412.18925); the order is free.
    """
    return float(solution_str.count(THINKING) == 1 and solution_str.count(FINAL) == 1)


@scores(0.0, 1.0)
def doctor_agent(data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None) -> float:
    """1.0 for one heading of each in order, 0.3 in the wrong order, 0.2 for a part, else 0.0.

    The format reward of Doctor-Agent's GRPO, with the headings of `huatuo`.
    """
    if solution_str.count(THINKING) == 1 and solution_str.count(FINAL) == 1:
        return 1.0 if solution_str.index(THINKING) < solution_str.index(FINAL) else 0.3
    return 0.2 if THINKING in solution_str or FINAL in solution_str else 0.0
