"""Scoring a step's answers with rule rewards: time limits, gates, bounds and sums included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.timing import Result, Unmeasured, middle
from residency.rewards import spec
from residency.rewards.score import Sample, Scorer

GOAL = 0.5
"""Seconds for all answers."""
ANSWERS = 2048
RUNS = 7
FORM = {"fn": "rewards.format.xml_tags", "name": "form", "weight": 0.2}
RECIPES: dict[str, tuple[object, list[dict[str, Any]]]] = {
    "form, PubMedQA behind it, partial form, F1, length": (
        "yes",
        [
            FORM,
            {"fn": "rewards.pubmedqa.answer", "weight": 2.0, "when": "form"},
            {"fn": "rewards.format.partial_tags"},
            {"fn": "rewards.exact_match.f1"},
            {"fn": "rewards.length.linear", "args": {"free": 200, "most": 400}},
        ],
    ),
    "form, multiple choice": ("B", [FORM, {"fn": "rewards.multiple_choice.answer"}]),
    "form, sample size": (511, [FORM, {"fn": "rewards.sample_size.answer"}]),
}
"""What is scored → (ground truth, rewards)."""
SAID = ("yes", "no", "(B) a beta blocker", "1,500", "It is not known", "511")


def samples(truth: object) -> list[Sample]:
    """Answers of some 250 words, as a model that reasons writes them; every fourth is out of form."""
    reason = "The trial had two arms of equal size and the difference was not significant. " * 18
    found = []
    for index in range(ANSWERS):
        closing = "" if index % 4 == 0 else "</answer>"
        text = f"<think>{reason}{index}</think>\n<answer>{SAID[index % len(SAID)]}{closing}"
        found.append(Sample("benchmark", text, truth, {"index": index}))
    return found


def rule_rewards() -> Iterator[Result]:
    """2,048 answers through the rule rewards of a recipe."""
    for what, (truth, entries) in RECIPES.items():
        scorer = Scorer(spec.components({"rewards": entries}))
        given = samples(truth)
        seconds = []
        for _ in range(RUNS):
            began = time.perf_counter()
            scored = scorer.score_now(given)
            seconds.append(time.perf_counter() - began)
            if any(one.total is None for one in scored) or len({one.total for one in scored}) < 2:
                raise Unmeasured(f"the rewards ({what}) did not do their work")
        title = f"scoring {ANSWERS:,} answers: {what}"
        yield Result(title, middle(seconds), runs=RUNS, goal=GOAL, note=f"slowest {max(seconds):.3f} s")


MEASURES = (rule_rewards,)
