"""What TrialPanorama's answers say, strictly and leniently."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.benchmark.trialpanorama import answers

OPTIONS = {"A": "Placebo", "B": "Surgery", "C": "No comparator"}


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ('{"answer_choice": "B"}', "B", "B"),
        ('```json\n{"step_by_step_thinking": "…", "answer_choice": "b"}\n```', "B", "B"),
        ('```\n{"Answer_Choice": "B. Surgery"}\n```', "B", "B"),
        ('<answer>{"answer_choice": "(B)"}</answer>', "B", "B"),
        ('{"answer_choice": "Surgery"}', "B", "B"),
        ('I think {"answer_choice": "B"} it is.', None, "B"),
        ('{"answer_choice": "A"} or rather {"answer_choice": "B"}', None, "B"),
        ("<answer>B</answer>", None, "B"),
        ("B", None, "B"),
        ("The answer is B.", None, "B"),
        ('{"answer_choice": "D"}', None, None),
        ('{"answer_choice": "A, B"}', None, None),
        ('{"answer_choice": ["B"]}', None, None),
        ('{"answer_choice": "B", "ANSWER_CHOICE": "A"}', None, None),
        ("Aspirin may help", None, None),
        ("", None, None),
        ("{" * 5000, None, None),
    ],
)
def test_letters(text: str, strict: str | None, lenient: str | None) -> None:
    assert answers.letter(text, OPTIONS) == strict
    assert answers.letter(text, OPTIONS, "lenient") == lenient


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ('{"sample_size_needed": 120}', 120, 120),
        ('{"sample_size_needed": "1,500"}', 1500, 1500),
        ('{"sample_size_needed": 120.0}', 120, 120),
        ("<answer>511 participants</answer>", 511, 511),
        ('So: {"sample_size_needed": 120}', None, 120),
        ("We need 120 patients.", None, 120),
        ("120 to 150", None, None),
        ('{"sample_size_needed": "120 to 150"}', None, None),
        ('{"sample_size_needed": true}', None, None),
        ('{"sample_size_needed": null}', None, None),
        ('{"sample_size_needed": -5}', None, None),
        ('{"sample_size_needed": Infinity}', None, None),
        ('{"sample_size_needed": 1' + "0" * 5000 + "}", None, None),
    ],
)
def test_numbers(text: str, strict: float | None, lenient: float | None) -> None:
    assert answers.number(text) == strict
    assert answers.number(text, "lenient") == lenient


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ('{"query": "asthma[mh] AND\\n exercise"}', "asthma[mh] AND exercise", "asthma[mh] AND exercise"),
        ("<answer>asthma[mh]</answer>", "asthma[mh]", "asthma[mh]"),
        ('<answer>{"query": "asthma"}</answer>', "asthma", "asthma"),
        ("asthma[mh]", None, "asthma[mh]"),
        ('{"query": ""}', None, None),
        ('{"query": 5}', None, None),
        ("one\ntwo", None, None),
    ],
)
def test_queries(text: str, strict: str | None, lenient: str | None) -> None:
    assert answers.query(text) == strict
    assert answers.query(text, "lenient") == lenient


def test_decisions() -> None:
    text = (
        '{"results": [{"PMID": 1, "decision": "included"}, {"pmid": "2", "decision": "Exclude"},'
        ' {"PMID": "3", "decision": "maybe"}, {"PMID": "4", "decision": "included"},'
        ' {"PMID": 4, "decision": "excluded"}, "x", {"decision": "included"}]}'
    )
    assert answers.decisions(text) == {1: "included", 2: "excluded"}
    assert answers.decisions('[{"PMID": "1", "label": "included"}]') == {1: "included"}
    assert answers.decisions("1: included") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"outcome": "complete"}', ("complete", None)),
        (
            '{"outcome": "Terminated", "termination_reason": "Lack_of efficacy"}',
            ("terminate", "lack of efficacy"),
        ),
        ('{"outcome": "complete", "termination_reason": "safety"}', ("complete", None)),
        ('{"outcome": "unsure"}', (None, None)),
        ("It will be completed.", (None, None)),
    ],
)
def test_outcomes(text: str, said: Any) -> None:
    assert answers.outcome(text) == said
    assert answers.outcome("Complete.", "lenient") == ("complete", None)


@given(st.text(max_size=200) | st.text(alphabet='{}[]"`:,answer_choice<>/\n1', max_size=200))
def test_any_text(text: str) -> None:
    for mode in ("strict", "lenient"):
        assert answers.letter(text, OPTIONS, mode) in (None, *OPTIONS)
        assert answers.number(text, mode) is None or answers.number(text, mode) >= 0  # type: ignore[operator]
        assert answers.query(text, mode) != ""
        answers.decisions(text, mode)
        answers.outcome(text, mode)


def test_long_texts_end_in_time() -> None:
    began = time.monotonic()
    for piece in ("{", '{"a":', "```", "<answer>", '{"a": 1} ', "["):
        text = piece * (100_000 // len(piece))
        answers.letter(text, OPTIONS, "lenient")
        answers.query(text, "lenient")
    assert time.monotonic() - began < 20
