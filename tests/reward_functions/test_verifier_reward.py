from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_model import TEXTS, make_tiny_model
from verifier_case import add_head

from residency.errors import Missing
from residency.rewards.functions import is_batched, score_range
from residency.verifier import classifier, served, text
from rewards import format as formats
from rewards import verifier

ORDERED = "## Thinking\n\n{t}\n\n## Final Response\n\n{r}"
REVERSED = "## Final Response\n\n{r}\n\n## Thinking\n\n{t}"


def answer(response: str, shape: str = ORDERED) -> str:
    return shape.format(t="Some thoughts.", r=response)


def call(function: Any, answers: Sequence[str], truths: Sequence[Any], **args: Any) -> list[dict[str, Any]]:
    n = len(answers)
    found: list[dict[str, Any]] = function(
        data_sources=["x"] * n, solution_strs=list(answers), ground_truths=list(truths),
        extra_infos=[{}] * n, **args,
    )  # fmt: skip
    return found


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A served verifier whose probability stands in the response; gives the texts it was sent."""
    texts: list[str] = []

    def probabilities(url: str, sent: Sequence[str], **args: Any) -> list[float]:
        assert url == "http://verifier"
        texts.extend(sent)
        return [float(one.split("<Model Response>\n")[1].split()[0]) for one in sent]

    monkeypatch.setattr(served, "probabilities", probabilities)
    return texts


def test_rewards_of_the_published_system(asked: list[str]) -> None:
    """Over the threshold 1.0, at or below it 0.1, without the form 0.0."""
    answers = [
        answer("0.41"),
        answer("0.4"),
        answer("0.39"),
        answer("0.9", REVERSED),
        "0.9",
        answer("0.9") + "\n\n## Final Response\n\n0.9",
        "## Thinking\n\n0.9",
    ]
    found = call(verifier.score, answers, ["ref"] * 7, url="http://verifier")
    assert [one["score"] for one in found] == [1.0, 0.1, 0.1, 1.0, 0.0, 0.0, 0.0]
    assert [one["probability"] for one in found] == [0.41, 0.4, 0.39, 0.9, None, None, None]
    assert len(asked) == 4  # those without the form are not sent
    assert all("<Reference Answer>\nref\n</Reference Answer>" in one for one in asked)
    assert all("Some thoughts" not in one for one in asked)


def test_values_can_be_set(asked: list[str]) -> None:
    args = {"threshold": 0.8, "passed": 2.0, "failed": -1.0, "no_form": -2.0, "url": "http://verifier"}
    found = call(verifier.score, [answer("0.9"), answer("0.8"), "0.9"], ["r"] * 3, **args)
    assert [one["score"] for one in found] == [2.0, -1.0, -2.0]
    assert score_range(verifier.score, args) == (-2.0, 2.0)
    assert score_range(verifier.score, {}) == (0.0, 1.0)
    assert is_batched(verifier.score)


def test_the_best_of_several_references_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_reference(url: str, sent: Sequence[str], **args: Any) -> list[float]:
        return [{"a": 0.1, "b": 0.7, "c": 0.3}[one[-1]] for one in sent]

    monkeypatch.setattr(served, "probabilities", by_reference)
    found = call(
        verifier.score, [answer("x"), answer("y")], [["a", "b"], ["c", "a"]],
        url="u", template="{response}:{reference}",
    )  # fmt: skip
    assert [one["probability"] for one in found] == [0.7, 0.3]


def test_an_empty_response_is_wrong_unasked(asked: list[str]) -> None:
    found = call(verifier.score, [answer("")], ["r"], url="http://verifier")
    assert found == [{"score": 0.1, "probability": None, "form": "ordered"}]
    assert asked == []


@pytest.mark.parametrize("truth", [None, "", [], {"a": 1}, ["x", None]])
def test_a_reference_of_another_shape(truth: Any) -> None:
    with pytest.raises(ValueError, match="must be a text or a list of texts"):
        call(verifier.score, [answer("x")], [truth], url="http://verifier")


def test_neither_model_nor_url() -> None:
    with pytest.raises(ValueError, match="needs `model:`"):
        call(verifier.score, [answer("x")], ["r"])


def test_unreachable_is_no_score() -> None:
    with pytest.raises(served.Unreachable):
        call(verifier.score, [answer("x")], ["r"], url="http://127.0.0.1:9", timeout=1.0)
    with pytest.raises(Missing):
        call(verifier.score, [answer("x")], ["r"], model="/nowhere/at/all")


@pytest.mark.parametrize(
    ("given", "form", "total"),
    [
        (answer("0.9"), 1.0, 1.0),
        (answer("0.1"), 1.0, 0.37),  # 0.3 + 0.7 · 0.1
        (answer("0.9", REVERSED), 0.3, 0.3),  # 0.09 + 0.21
        (answer("0.1", REVERSED), 0.3, 0.111),
        ("## Thinking\n\n0.9", 0.2, 0.06),
        (answer("0.9") + "\n## Thinking", 0.2, 0.06),
        ("0.9", 0.0, 0.0),
    ],
)
def test_doctor_agent(asked: list[str], given: str, form: float, total: float) -> None:
    assert formats.doctor_agent("x", given, "r") == form
    assert formats.huatuo("x", given, "r") == (text.final_response(given) is not None)
    (found,) = call(verifier.doctor_agent, [given], ["r"], url="http://verifier")
    assert found["score"] == pytest.approx(total)


def test_policy_and_verifier_of_different_vocabularies(tmp_path: Path) -> None:
    """What the policy's tokenizer writes is read as text; its ids would mean other words, or none."""
    from transformers import AutoTokenizer

    policy = make_tiny_model(tmp_path / "policy", TEXTS, vocabulary=512)
    small = make_tiny_model(tmp_path / "base", ["Parvovirus infection"], vocabulary=290, family="qwen2")
    model = add_head(small, tmp_path / "verifier")
    theirs, ours = AutoTokenizer.from_pretrained(policy), AutoTokenizer.from_pretrained(model)
    said = answer("Parvovirus B19 – infection µ")
    ids = theirs(said)["input_ids"]
    assert max(ids) >= len(ours)  # ids that the verifier does not have
    (found,) = call(verifier.score, [theirs.decode(ids)], ["Parvovirus B19"], model=str(model))
    wanted = classifier.held(str(model)).probabilities([("Parvovirus B19 – infection µ", "Parvovirus B19")])
    assert found["probability"] == pytest.approx(wanted[0])
    assert text.final_response(theirs.decode(ids)) == "Parvovirus B19 – infection µ"
