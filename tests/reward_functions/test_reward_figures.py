"""Each reward against figures that are known: published ones, and cases that models are known to try."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from rewards import exact_match, format, length, multiple_choice, pubmedqa, sample_size, study_questions


def score(function: Callable[..., Any], text: str, truth: Any = "t", extra: Any = None, **args: Any) -> float:
    found = function("d", text, truth, extra, **args)
    return float(found["score"] if isinstance(found, dict) else found)


def tagged(text: str, think: str = "so") -> str:
    return f"<think>{think}</think>\n<answer>{text}</answer>"


@pytest.mark.parametrize(
    ("text", "target", "expected"),
    [
        (tagged("500"), 511, 1.1),
        (tagged("200"), 511, 0.0),
        ("500", 511, -2.0),
        (tagged("no number"), 511, 0.0),
        (tagged("408.8"), 511, 1.1),
        (tagged("610"), 511, 1.1),
        (tagged("650"), 511, 0.0),
        (tagged("400"), 511, 0.0),
        (tagged("511"), 511, 1.1),
        (tagged("1,500"), "1,538", 1.1),
        (tagged("120 to 150"), 120, 1.1),
        (tagged("-5"), 5, 1.1),
        (tagged("95% power N=200"), 95, 1.1),
        (tagged("511"), "unknown", -2.0),
        (tagged("511"), {"target": 511, "answer_type": "n", "trial_id": "NCT1", "pmid": 1}, 1.1),
        (tagged("511"), {"trial_id": "NCT1"}, -2.0),
        (tagged("511") + tagged("511"), 511, -2.0),
        ("<answer>511</answer><think>x</think>", 511, -2.0),
        ("Assistant: " + tagged("511"), 511, 1.1),
        ("<think><answer> is the form<|im_start|>assistant\n" + tagged("511"), 511, 1.1),
        ("<|start_header_id|>assistant<|end_header_id|>" + tagged("511"), 511, 1.1),
    ],
)
def test_sample_size_as_published(text: str, target: Any, expected: float) -> None:
    assert score(sample_size.published, text, target) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("inside", "target", "expected"),
    [
        ("511", 511, 1),
        ("408.8", 511, 1),
        ("613.2", 511, 1),
        ("408.7", 511, 0),
        ("613.3", 511, 0),
        ("3.6", 3, 1),
        ("2.4", 3, 1),
        ("N = 511 patients", "511", 1),
        ("1,500", "1,538", 1),
        ("1 500 in all", {"target": 1538}, 1),
        ("1\u202f500", 1538, 1),
        ("1.5e3", 1500, 1),
        ("120 to 150", 120, 0),
        ("120-150", 120, 0),
        ("-5", 5, 0),
        ("1,50", 1, 0),
        ("1.2.3", 1, 0),
        ("95% power, 200", 200, 1),
        ("95% power N=200", 95, 0),
        ("about five hundred", 500, 0),
        ("", 500, 0),
        ("1e999", 500, 0),
        ("9" * 5000, 500, 0),
        ("100, 200, 300, 400, 500, 600", 500, 0),
    ],
)
def test_sample_size(inside: str, target: Any, expected: float) -> None:
    assert score(sample_size.answer, f"It is so. <answer>{inside}</answer>", target) == expected


@pytest.mark.parametrize("truth", [None, "many", 0, -3, float("nan"), True, [511], {"size": 511}, "95%"])
def test_a_sample_size_that_is_none(truth: Any) -> None:
    with pytest.raises(ValueError, match="must be a number above 0"):
        score(sample_size.answer, "<answer>511</answer>", truth)


def test_sample_size_tolerance() -> None:
    assert score(sample_size.answer, "<answer>105</answer>", 100, tolerance=0.04) == 0
    assert score(sample_size.answer, "<answer>104</answer>", 100, tolerance=0.04) == 1


@pytest.mark.parametrize(
    ("text", "truth", "expected"),
    [
        ("<answer>yes</answer>", "yes", 1),
        ("Since … <answer> Maybe </answer> so.", "maybe", 1),
        ("<answer>yes</answer>", "Yes", 1),
        ("<answer>no</answer>", "<answer>no</answer>", 1),
        ("<answer>no</answer>", "yes", 0),
        ("yes", "yes", 0),
        ("yesterday <answer>unknown</answer>", "no", 0),
        ("<answer>yes no maybe</answer>", "yes", 0),
        ("<answer>yes</answer><answer>no</answer>", "yes", 0),
        ("<answer>yes</answer>" * 100, "yes", 0),
        ("<answer>not</answer>", "no", 0),
        ("<answer>yes.</answer>", "yes", 0),
        ("<answer>yes", "yes", 0),
        ("", "yes", 0),
    ],
)
def test_pubmedqa(text: str, truth: str, expected: float) -> None:
    assert score(pubmedqa.answer, text, truth) == expected
    if truth.casefold() != "maybe":
        assert score(study_questions.answer, text, truth) == expected


def test_pubmedqa_otherwise_read() -> None:
    assert score(pubmedqa.answer, "<answer>no</answer> or <answer>“Yes.”", "yes", mode="lenient") == 0
    assert score(pubmedqa.answer, '<answer>no</answer> or <answer>"Yes."', "yes", mode="lenient") == 1
    assert score(pubmedqa.answer, " yes\n", "yes", tag=None) == 1
    assert score(pubmedqa.answer, "<final>yes</final>", "yes", tag="final") == 1
    for function, truth in (
        (pubmedqa.answer, "perhaps"),
        (study_questions.answer, "maybe"),
        (pubmedqa.answer, 1),
    ):
        with pytest.raises(ValueError, match="must be one of yes, no"):
            score(function, "<answer>yes</answer>", truth)


@pytest.mark.parametrize(
    ("text", "truth", "expected"),
    [
        ("<reasoning>r</reasoning><answer>yes</answer>", "yes", 2.8),
        ("<reasoning>r</reasoning><answer>no</answer>", "no", 2.8),
        ("<reasoning>r</reasoning><answer>no</answer>", "yes", 0.8),
        ("<answer>yes</answer>", "yes", 2.4),
        ("yes", "yes", 2.0),
        ("yesterday", "yes", 2.0),
        ("I do not know", "no", 2.0),
        ("yes and no", "no", 0.0),
        ("Yes", "yes", 0.0),
        ("<answer>maybe</answer>", "maybe", 0.4),
        ("", "maybe", 0.0),
    ],
)
def test_pubmedqa_as_published(text: str, truth: str, expected: float) -> None:
    assert score(pubmedqa.published, text, truth) == pytest.approx(expected)


OPTIONS = {"A": "aspirin", "B": "a beta blocker", "C": "vitamin C", "D": None}


@pytest.mark.parametrize(
    ("inside", "bare", "known"),
    [
        ("B", 1, 1),
        ("(B)", 1, 1),
        ("b.", 1, 1),
        ("**B**", 1, 1),
        ("Option B", 1, 1),
        ("The correct answer is: (B)", 1, 1),
        ("B. a beta blocker", 1, 1),
        ("B: beta blocker", 1, 1),
        ("beta blocker", 0, 1),
        ("B. aspirin", 1, 0),
        ("A", 0, 0),
        ("A. a beta blocker", 0, 0),
        ("D", 0, 0),
        ("", 0, 0),
        ("A B C D", 0, 0),
        ("B, A", 0, 0),
        ("B or A", 0, 0),
        ("B. A. C.", 0, 0),
        ("B - A - C", 0, 0),
        ("B. A", 0, 0),
        ("B) A) C)", 0, 0),
        ("Both", 0, 0),
        ("B-reactive protein", 0, 0),
        ("B - a beta blocker", 1, 1),
        ("aspirin, a beta blocker, vitamin C", 0, 0),
    ],
)
def test_multiple_choice(inside: str, bare: float, known: float) -> None:
    text = f"<think>A, B, C?</think><answer>{inside}</answer>"
    assert score(multiple_choice.answer, text, "B") == bare
    assert score(multiple_choice.answer, text, "b", {"options": OPTIONS}) == known
    assert score(multiple_choice.answer, text, {"answer": "B", "options": OPTIONS}) == known
    assert score(multiple_choice.answer, text, "B", {"options": list(OPTIONS.values())[:3]}) == known


@pytest.mark.parametrize("truth", [None, "", "AB", "beta", 1, {"answer": "E", "options": OPTIONS}])
def test_a_choice_that_is_none(truth: Any) -> None:
    with pytest.raises(ValueError, match="ground truth"):
        score(multiple_choice.answer, "<answer>A</answer>", truth)


@pytest.mark.parametrize(
    ("inside", "truth", "em", "f1"),
    [
        ("The Beta-Blocker!", "beta blocker", 0, 0),
        ("The beta blocker!", "a beta blocker", 1, 1),
        ("blocker", ["x", "beta blocker"], 0, 2 / 3),
        ("beta  blocker", {"target": ["x", "Beta blocker."]}, 1, 1),
        ("beta beta blocker", "beta blocker", 0, 0.8),
        ("no yes", "yes", 0, 0),
        ("42", 42, 1, 1),
        ("A", "A", 1, 1),
        ("the", "A", 0, 0),
        ("?", "!", 0, 0),
        ("", "x", 0, 0),
    ],
)
def test_exact_match(inside: str, truth: Any, em: float, f1: float) -> None:
    text = f"<answer>{inside}</answer>"
    assert score(exact_match.answer, text, truth) == em
    assert score(exact_match.f1, text, truth) == pytest.approx(f1)


def test_exact_match_as_published() -> None:
    many = "<answer>wrong</answer> no: <answer>The\nright one</answer> <answer>open"
    assert score(exact_match.published, many, "right one") == 1
    assert score(exact_match.published, many, "wrong") == 0
    assert score(exact_match.published, "right one", "right one") == 0
    assert score(exact_match.published, "Right one.", "the right one", whole=True) == 1
    assert score(exact_match.answer, many, "right one") == 0, "one answer, not several"


@pytest.mark.parametrize("truth", [None, "", " ", [], ["a", None], {"other": "a"}, {"target": []}])
def test_a_text_that_is_none(truth: Any) -> None:
    for function in (exact_match.answer, exact_match.f1, exact_match.published):
        with pytest.raises(ValueError, match="must be a text"):
            score(function, "<answer>a</answer>", truth)


@pytest.mark.parametrize(
    ("text", "whole", "partial"),
    [
        (tagged("x"), 1, 1),
        ("Well: " + tagged("x") + " So.", 1, 1),
        ("<answer>x</answer><think>y</think>", 0, 0.5),
        ("<think>y<answer>x</think></answer>", 0, 0.5),
        ("<think>y</think><answer>x", 0, 0.75),
        ("<answer>x</answer>", 0, 0.5),
        ("<think>y</think><answer> </answer>", 0, 1),
        (tagged("x") * 100, 0, 0),
        ("</answer>", 0, 0.25),
        ("", 0, 0),
    ],
)
def test_xml_tags(text: str, whole: float, partial: float) -> None:
    assert score(format.xml_tags, text) == whole
    assert score(format.partial_tags, text) == partial


def test_xml_tags_alone() -> None:
    assert score(format.xml_tags, f" {tagged('x')}\n", alone=True) == 1
    assert score(format.xml_tags, tagged("x") + " So.", alone=True) == 0
    assert score(format.xml_tags, "<a>x</a>", tags=["a"]) == 1
    for tags in ([], "answer"):
        with pytest.raises(ValueError, match="tags"):
            score(format.xml_tags, "x", tags=tags)


@pytest.mark.parametrize(
    ("text", "args", "expected"),
    [
        ('{"a": 1}', {}, 1),
        ('{"a": 1}', {"keys": ["a"]}, 1),
        ('{"a": 1}', {"keys": ["a", "b"]}, 0),
        ('x <answer>{"a": 1}</answer>', {"tag": "answer"}, 1),
        ('{"a": 1}', {"tag": "answer"}, 0),
        ("[1]", {}, 0),
        ("{", {}, 0),
        ("[" * 100_000, {}, 0),
        ('{"a": ' + "9" * 5000 + "}", {}, 0),
    ],
)
def test_json(text: str, args: dict[str, Any], expected: float) -> None:
    assert score(format.json_object, text, **args) == expected


THINK, FINAL = "## Thinking\n\nso\n\n", "## Final Response\n\nIt is."


@pytest.mark.parametrize(
    ("text", "gate", "form"),
    [
        (THINK + FINAL, 1, 1.0),
        (FINAL + "\n" + THINK, 1, 0.3),
        (THINK, 0, 0.2),
        (FINAL, 0, 0.2),
        (THINK + FINAL + FINAL, 0, 0.2),
        (THINK + "## Final Response\nIt is.", 0, 0.2),
        ("It is.", 0, 0.0),
    ],
)
def test_headings(text: str, gate: float, form: float) -> None:
    assert score(format.huatuo, text) == gate
    assert score(format.doctor_agent, text) == form


def test_length() -> None:
    ten = "w " * 10
    assert str(score(length.linear, ten, free=10, most=20)) == "0.0", "and not -0.0"
    assert score(length.linear, "w " * 15, free=10, most=20) == -0.5
    assert score(length.linear, "w " * 99, free=10, most=20) == -1
    assert score(length.linear, "wwww", free=2, most=6, unit="characters") == -0.5
    assert score(length.cosine, ten, free=10, most=20) == 0
    assert score(length.cosine, "w " * 15, free=10, most=20) == pytest.approx(-0.5)
    assert score(length.cosine, "w " * 12, free=10, most=20) > score(
        length.linear, "w " * 12, free=10, most=20
    )
    assert score(length.cosine, "w " * 99, free=10, most=20) == -1
    assert score(length.per_word, "w " * 60) == pytest.approx(-0.1)
    assert score(length.per_word, "w " * 500) == -1
    for args in ({"free": 5, "most": 5}, {"free": 1, "most": 5, "unit": "tokens"}):
        with pytest.raises(ValueError, match="must be"):
            score(length.linear, "w", **args)


NASTY = [
    "<answer>" * 40_000,
    "</answer>" * 40_000,
    "<" * 300_000,
    "< " * 150_000,
    "<answer>" + " " * 300_000 + "x</answer>",
    "<answer>answer" + " " * 1_900 + "!</answer>",
    "<answer>" + "1," * 150_000 + "</answer>",
    "1" * 300_000,
    "the " * 75_000,
]


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
def test_time_grows_with_the_length_alone(text: str) -> None:
    """A call that runs for minutes in a regular expression cannot be cut short by a time limit."""
    began = time.process_time()
    for function, truth in (
        (format.xml_tags, None),
        (format.partial_tags, None),
        (format.json_object, None),
        (pubmedqa.answer, "yes"),
        (pubmedqa.published, "yes"),
        (multiple_choice.answer, "A"),
        (exact_match.f1, "x"),
        (exact_match.published, "x"),
        (sample_size.answer, 5),
        (sample_size.published, 5),
    ):
        score(function, text, truth)
    assert time.process_time() - began < 2.0
