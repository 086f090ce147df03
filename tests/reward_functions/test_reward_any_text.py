"""What holds for every reward function and any text."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewards
from residency.rewards.call import Value, value
from residency.rewards.functions import score_range

TRUTHS: dict[str, Any] = {
    "rewards.multiple_choice": "B",
    "rewards.exact_match": ["beta blocker", "yes"],
    "rewards.sample_size": 511,
    "rewards.number": 511,
    "rewards.pubmedqa": "yes",
    "rewards.study_questions": "no",
}
ARGS = {"linear": {"free": 3, "most": 9}, "cosine": {"free": 3, "most": 9}}
ELSEWHERE = ("rewards.verifier",)
"""These ask a model."""


def functions() -> list[Callable[..., Any]]:
    found = []
    for module in pkgutil.iter_modules(rewards.__path__, "rewards."):
        if module.name in ELSEWHERE or module.name.rpartition(".")[2].startswith("_"):
            continue
        for name, item in vars(importlib.import_module(module.name)).items():
            if not name.startswith("_") and hasattr(item, "score_range"):
                found.append(item)
    return found


FUNCTIONS = functions()


def test_all_are_here() -> None:
    assert len(FUNCTIONS) >= 15


MARKS = ["<answer>", "</answer>", "<think>", "</think>", "< Answer >", "## Thinking", "## Final Response\n\n"]
WORDS = [
    "yes",
    "no",
    "maybe",
    "B",
    "(B) ",
    "A. ",
    "511",
    "1,500",
    " 95% ",
    "-",
    "beta blocker",
    "the",
    "{",
    "}",
]
PIECES = st.sampled_from([*MARKS, *WORDS])
TEXTS = st.one_of(
    st.text(),
    st.lists(st.one_of(PIECES, st.text(max_size=5)), max_size=30).map("".join),
    PIECES.map(lambda piece: f"<think>x</think><answer>{piece}</answer>"),
    st.text(alphabet=st.characters(categories=["Cs", "Cc", "Nd", "Zs"]), max_size=30),
)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f"{f.__module__}.{f.__name__}")
@given(text=TEXTS, prompt=st.text(max_size=40))
def test_any_text(function: Callable[..., Any], text: str, prompt: str) -> None:
    truth, args = TRUTHS.get(function.__module__, "yes"), ARGS.get(function.__name__, {})
    stated = score_range(function, args)
    assert stated is not None
    found = value(function("source", text, truth, None, **args), stated)
    assert isinstance(found, Value), "a number within the stated range"
    other = {
        "question": prompt,
        "prompt": prompt,
        "gold": f"<answer>{prompt}</answer>",
        "index": 3,
        "turns": 2,
    }
    again = value(
        function(data_source=prompt, solution_str=text, ground_truth=truth, extra_info=other, **args), stated
    )
    assert again == found, "the answer alone counts, not the prompt"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_each_says_what_it_does(function: Callable[..., Any]) -> None:
    assert (function.__doc__ or "").strip()
