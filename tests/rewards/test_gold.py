"""The gold check: which rewards pass it, which do not, and what it says of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from residency.errors import RecipeInvalid, StageFailed
from residency.rewards import corruptions, gold, spec
from residency.rewards.corruptions import GoldRow
from residency.rewards.functions import scores
from residency.rewards.spec import Calls, Component

ANSWER = {"fn": "rewards.pubmedqa.answer", "weight": 2.0}
FORM = {"fn": "rewards.format.xml_tags", "weight": 0.2, "args": {"tags": ["answer"]}}
PROMPT = "Does it help? Answer with <answer>yes</answer>, <answer>no</answer> or <answer>maybe</answer>."


def rows(*truths: Any, prompt: str = PROMPT, gold: str = "So: <answer>{}</answer>") -> list[GoldRow]:
    return [
        GoldRow(f"Question {index}. {prompt}", gold.format(truth), truth, "d", {}, index)
        for index, truth in enumerate(truths)
    ]


THREE = rows("yes", "no", "maybe", "yes")


def check(
    entries: list[dict[str, Any]] | list[Component], given: list[GoldRow] = THREE, **options: Any
) -> gold.GoldReport:
    parts: Any = entries
    if isinstance(entries[0], dict):
        parts = spec.components({"rewards": entries})
    return gold.check(parts, given, calls=Calls(retries=0), **options)


def failed(report: gold.GoldReport) -> set[str]:
    return {failure.case for failure in report.failures}


def test_a_sound_reward() -> None:
    report = check([FORM, ANSWER])
    assert report.ok
    assert (report.rows, report.without_gold, report.maximum) == (4, 0, 2.2)
    assert set(report.cases) == {"gold", *corruptions.CORRUPTIONS}
    assert report.cases["gold"] == 4
    assert report.means["gold"] == {"format.xml_tags": 1.0, "pubmedqa.answer": 1.0, "total": 2.2}
    assert report.means["empty"]["total"] == 0.0
    assert json.loads(json.dumps(report.to_json()))["ok"] is True
    gold.insist(report)


def test_the_published_reward_of_pubmedqa_is_found_out() -> None:
    form = "<reasoning>r</reasoning><answer>{}</answer>"
    report = check([{"fn": "rewards.pubmedqa.published"}], rows("yes", "no", gold=form))
    assert {"every_option", "repeated"} <= failed(report)
    report = check([{"fn": "rewards.pubmedqa.published"}], rows("maybe", "yes", gold=form))
    assert report.failures[0].message.startswith("it scores 0.8 and not 2.8")


@scores(0.0, 1.0)
def substring(solution_str: str, ground_truth: str) -> float:
    return float(ground_truth in solution_str)


@scores(0.0, 1.0)
def first_letters(solution_str: str, ground_truth: str) -> float:
    text = solution_str.partition("<answer>")[2]
    return float(text.startswith(ground_truth))


@scores(0.0, 1.0)
def generous(solution_str: str, ground_truth: str) -> float:
    return 1.0


@scores(0.0, 1.0)
def kind_to_silence(solution_str: str, ground_truth: str) -> float:
    return 1.0 if not solution_str.strip() else float(f"<answer>{ground_truth}</answer>" == solution_str[4:])


@scores(0.0, 1.0)
def stern(solution_str: str, ground_truth: str) -> float:
    return 0.5


def faulty(solution_str: str, ground_truth: str) -> float:
    return 1.0 / len(solution_str.strip()) and float(solution_str == f"So: <answer>{ground_truth}</answer>")


@pytest.mark.parametrize(
    ("function", "cases", "says"),
    [
        (substring, {"every_option", "missing_tag", "prompt_echoed", "repeated"}, "must score less than 1"),
        (first_letters, {"repeated"}, "it scores 1, and must score less than 1"),
        (generous, set(corruptions.CORRUPTIONS), "must score less than 1"),
        (kind_to_silence, {"empty"}, "it scores 1"),
        (stern, {"gold", *corruptions.CORRUPTIONS}, "it scores 0.5 and not 1: `c` gives 0.5 and not 1"),
        (faulty, {"empty"}, "it could not be scored: `c`: ZeroDivisionError"),
    ],
)
def test_unsound_rewards(function: Any, cases: set[str], says: str) -> None:
    report = check(
        [Component("c", function, maximum=1.0, minimum=0.0)], rows("yes", "no", prompt="yes or no?")
    )
    assert failed(report) == cases
    assert says in report.failures[0].message
    with pytest.raises(StageFailed) as caught:
        gold.insist(report)
    assert f"row 1, {report.failures[0].case}: " in str(caught.value)
    assert "the ground truth 'yes'" in str(caught.value)


def test_a_reward_that_takes_the_last_answer_is_sound() -> None:
    report = check([{"fn": "rewards.exact_match.published"}], rows("one", "two", prompt="Which?"))
    assert failed(report) == {"repeated"}, "the same answer over and over is still its last answer"
    report = check(
        [{"fn": "rewards.exact_match.published"}],
        rows("one", "two", prompt="Which?"),
        which=["wrong_answer", "missing_tag", "empty", "prompt_echoed", "every_option"],
    )
    assert report.ok


@pytest.mark.parametrize(
    ("entries", "given"),
    [
        ([{"fn": "rewards.study_questions.answer"}, FORM], rows("yes", "no")),
        ([{"fn": "rewards.multiple_choice.answer"}], rows("A", "B", "C", "D")),
        ([{"fn": "rewards.exact_match.answer"}], rows("aspirin", "a beta blocker", "42")),
        ([{"fn": "rewards.exact_match.f1"}], rows("aspirin", "a beta blocker", "ibuprofen 400 mg")),
        ([{"fn": "rewards.sample_size.answer"}], rows(511, 530, 120, "1,538", 2000)),
        (
            [{"fn": "rewards.sample_size.published"}],
            rows(511, 530, 120, gold="<think>n</think><answer>{}</answer>"),
        ),
        ([ANSWER, {"fn": "rewards.length.linear", "args": {"free": 20, "most": 90}}], THREE),
        ([FORM, {**ANSWER, "when": "format.xml_tags"}], THREE),
        ([ANSWER], rows("<answer>yes</answer>", "<answer>no</answer>", gold="{}")),
    ],
)
def test_the_rewards_here_pass(entries: list[dict[str, Any]], given: list[GoldRow]) -> None:
    report = check(entries, given)
    assert [f"{f.case}: {f.message}: {f.answer}"[:200] for f in report.failures] == []


def test_a_prompt_that_shows_one_answer_is_found() -> None:
    """An echoed example would earn the reward wherever it happens to be right."""
    report = check([ANSWER], rows("yes", "no", prompt="Write <answer>yes</answer>, say."))
    assert [(f.case, f.index) for f in report.failures] == [("prompt_echoed", 0)]


def test_what_does_not_fit_the_data_is_left_out() -> None:
    report = check([ANSWER], rows("yes", "yes"))
    assert not {"wrong_answer", "every_option"} & set(report.cases), "there is no other answer"
    report = check(
        [{"fn": "rewards.study_questions.answer", "args": {"tag": None}}], rows("yes", "no", gold="{}")
    )
    assert "missing_tag" not in report.cases
    assert report.ok
    assert set(check([ANSWER], which=["empty"]).cases) == {"gold", "empty"}


def test_other_answers_come_from_all_rows() -> None:
    given = rows(*["yes"] * 50, "no", *["yes"] * 50)
    report = check([ANSWER], given, count=2)
    assert report.rows == 2
    assert report.cases["wrong_answer"] == 2


def test_wrong_numbers_are_far_ones() -> None:
    found = corruptions.of(rows(100)[0], rows(100, 101, 99, 1000, 120), ["wrong_answer"])
    assert found == {"wrong_answer": [["So: <answer>1000</answer>"]]}


def test_every_option_stands_within_the_tag() -> None:
    found = corruptions.of(rows("a")[0], rows("a", "b"), ["every_option"])["every_option"]
    assert found[1] == ["So: <answer>a, b</answer>", "So: <answer>b, a</answer>"]


def test_alternatives_do_not_make_each_other_wrong() -> None:
    both = [GoldRow("q", "<answer>x</answer>", ["x", "y"]), GoldRow("q", "<answer>Y</answer>", ["Y"])]
    assert corruptions.of(both[0], both, ["wrong_answer"]) == {}


def test_rows_without_gold() -> None:
    given = [*rows("yes", "no"), GoldRow("q", None, "yes"), GoldRow("q", " ", "yes")]
    assert check([ANSWER], given).without_gold == 2
    with pytest.raises(RecipeInvalid, match="no row has a gold answer"):
        check([ANSWER], given[2:])


def test_a_maximum_that_nobody_states() -> None:
    with pytest.raises(RecipeInvalid, match="what a right answer scores is not known of `c`"):
        check([Component("c", faulty)])
    with pytest.raises(RecipeInvalid, match="the lowest score of `c`"):
        check([Component("c", faulty, weight=-1.0, maximum=1.0)])


def test_long_answers_are_cut_in_messages() -> None:
    assert len(gold.shown("x" * 10_000)) < 450
    (repeated,) = corruptions.of(THREE[0], THREE, ["repeated"])["repeated"][0]
    assert gold.shown(repeated) == "'So: <answer>yes</answer>', 100 times"
    assert gold.shown("x\n" * 99 + "y") != gold.shown("x\n" * 99 + "x")


def test_rewards_are_given_what_training_gives_them() -> None:
    seen: list[dict[str, Any]] = []

    def reward(solution_str: str, extra_info: dict[str, Any]) -> float:
        seen.append({"text": solution_str, **extra_info})
        return 1.0

    row = GoldRow("q", "<answer>yes</answer>", "yes", "d", {"pmid": 7}, 0)
    check([Component("c", reward, maximum=1.0)], [row], which=["empty"])
    gold.try_out([Component("c", reward)], [row])
    assert {one["text"] for one in seen} == {"<answer>yes</answer>", "", " \n"}
    assert all(one["turns"] == [one["text"]] and one["pmid"] == 7 for one in seen)
