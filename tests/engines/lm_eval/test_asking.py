"""What our tasks ask: messages through a template or as text, second requests, several answers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from residency.engines.lm_eval import asking, questions, results
from residency.evaluation.prompts import prompt_hash

ROWS = [
    {
        "id": f"q{number}",
        "question": f"Which {number}?",
        "options": {"A": "one", "B": "two", "C": "three"} | ({"D": "four"} if number == 2 else {}),
        "label": "ABC"[number % 3],
        "subject": "x" if number < 2 else "y",
    }
    for number in range(4)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "rows.jsonl"
    found.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return found


def docs(path: Path, **given: Any) -> list[dict[str, Any]]:
    pytest.importorskip("datasets")
    found = questions.rows(
        data_files={"test": str(path)},
        choices=True,
        strict="residency.evaluation.extract.tagged",
        lenient="residency.evaluation.extract.lenient",
        **given,
    )
    return [dict(doc) for doc in found["test"]]


def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    shown = "".join(f"<{m['role']}>{m['content']}" for m in messages)
    return shown + ("<assistant>" if add_generation_prompt else "")


STYLE = {"system": "S.", "question": "{question} {options}", "between": " "}


def test_context(path: Path) -> None:
    doc = docs(path, prompt=STYLE)[0]
    said = "Which 0? (A) one (B) two (C) three"
    assert asking._context(doc) == f"S.\n\n{said}\n"
    assert asking._context(doc, chat_template=template) == f"S.\n\n{said}\n", "only when it is asked for"
    through = asking._context(doc, apply_chat_template=True, chat_template=template)
    assert through == f"<system>S.<user>{said}<assistant>"
    prefixed = asking._context(doc, apply_chat_template=True, chat_template=template, gen_prefix="(")
    assert prefixed == f"<system>S.<user>{said}<assistant>("
    assert asking._context(doc, system_instruction="First.", gen_prefix="(").startswith("First.\n\nS.\n\n")
    bare = docs(path, prompt={**STYLE, "system": ""})[0]
    assert asking._context(bare, system_instruction="First.").startswith("First.\n\nWhich")


def test_examples_come_from_their_file(path: Path, tmp_path: Path) -> None:
    train = tmp_path / "train.jsonl"
    train.write_text("".join(json.dumps(row | {"id": None}) + "\n" for row in ROWS), encoding="utf-8")
    found = docs(path, prompt={**STYLE, "shots": 3, "examples": str(train)})
    for doc in found:
        own = doc["messages"][-1]["content"].split(" (")[0]
        before = [m["content"].split(" (")[0] for m in doc["messages"][:-1] if m["role"] == "user"]
        assert len(before) == 3
        assert own not in before
    with pytest.raises(questions.BadRow, match=r"row 1: 4 examples are asked for, and 3 are there"):
        docs(path, prompt={**STYLE, "shots": 4, "examples": str(train)})


def test_a_row_without_what_the_style_needs_is_named(path: Path) -> None:
    with pytest.raises(questions.BadRow, match=r"rows\.jsonl: row 1: it has no evidence"):
        docs(path, prompt={"question": "{context} {question}", "book": "open"})
    with pytest.raises(questions.BadRow, match="either `labels` or `choices"):
        questions.rows(data_files={"test": str(path)})


class Model:
    """Answers with what it was asked, shortened."""

    def __init__(self, reply: Any) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.reply = reply

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        self.asked += [request.args for request in requests]
        return [self.reply(request.args[0]) for request in requests]

    def apply_chat_template(self, messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        return template(messages, add_generation_prompt)


def task_of(found: list[dict[str, Any]], repeats: int = 1) -> Any:
    config = SimpleNamespace(repeats=repeats, metadata={"version": 3})
    return SimpleNamespace(features=list(found[0]), eval_docs=found, config=config, _aggregation_list={})


@pytest.mark.parametrize("chat", [True, False])
def test_a_second_request_asks_for_the_answer(path: Path, chat: bool) -> None:
    instance = pytest.importorskip("lm_eval.api.instance")
    found = docs(path, prompt={**STYLE, "then": "Among {first} to {last}:", "then_tokens": 5})
    task = task_of(found)
    asking.attach({"t": task})
    assert asking.steps(task) == 2
    lm = Model(lambda prompt: "B" if "Among" in prompt else "I think.")
    asking.attach_second(lm, {"t": task}, chat=chat, system=None)
    context = {"apply_chat_template": chat, "chat_template": lm.apply_chat_template}
    requests = [
        instance.Instance("generate_until", doc, (task.fewshot_context(doc, **context), {"until": []}), 0)
        for doc in found
    ]
    answers = lm.generate_until(requests)
    assert answers == ["B"] * 4
    assert [answer.first for answer in answers] == ["I think."] * 4
    assert len(lm.asked) == 8
    first, last = lm.asked[0], lm.asked[4]
    assert first[1] == {"until": []}
    assert last[1] == {"until": [], "max_gen_toks": 5}
    if chat:
        assert last[0] == f"{first[0]}I think.<user>Among A to C:<assistant>"
    else:
        assert last[0] == f"{first[0]}I think.\n\nAmong A to C:"
    assert "Among A to D:" in lm.asked[6][0], "the row with four options"


def test_without_a_second_request_nothing_is_wrapped(path: Path) -> None:
    lm = Model(lambda prompt: "B")
    before = lm.generate_until
    asking.attach_second(lm, {"t": task_of(docs(path, prompt=STYLE))}, chat=False, system=None)
    assert lm.generate_until == before


def test_every_answer_of_several_is_kept_and_scored(path: Path) -> None:
    task = task_of(docs(path), repeats=3)
    asking.attach({"t": task})
    given = ["<answer>A</answer>", "<answer>B</answer>", "no tag, but the answer is A"]
    task._instances = [SimpleNamespace(resps=given, filtered_resps={})]
    task.apply_filters()
    assert task._instances[0].filtered_resps == {"none": given}
    doc = docs(path)[0]
    found = questions.score(doc, [given])
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["accuracy_lenient"] == pytest.approx(2 / 3)
    assert (found["unreadable"], found["unreadable_lenient"]) == (pytest.approx(1 / 3), 0)
    assert found["readings"] == [["A", "A"], ["B", "B"], [None, "A"]]
    assert "macro_f1" not in found


def sample(doc: dict[str, Any], number: int, answers: list[str]) -> dict[str, Any]:
    figures = questions.score(doc, [answers])
    return {
        "doc_id": number,
        "doc": doc,
        "target": doc["answer"],
        "arguments": [("prompt", {})],
        "resps": [answers],
        "filtered_resps": [answers],
        "filter": "none",
        "metrics": list(figures),
        **figures,
    }


def test_figures_of_both_readings(path: Path) -> None:
    found = docs(path, by="subject")
    said = [["<answer>A</answer>"], ["the answer is B"], ["<answer>E</answer>"], ["<answer>B</answer>"]]
    samples = [sample(doc, number, said[number]) for number, doc in enumerate(found)]
    rows = {row["metric"]: row for row in results.scores("t", samples, {}, limited=False)}
    assert set(rows) == {"accuracy", "accuracy_lenient"}
    assert [(rows[m]["value"], rows[m]["n"], rows[m]["unreadable"]) for m in rows] == [
        (0.25, 4, 2),
        (0.5, 4, 1),
    ]
    written = results.samples("t", samples)
    assert [row["extracted"] for row in written] == ["A", None, None, "B"]
    assert [row["extracted_lenient"] for row in written] == ["A", "B", None, "B"]
    assert [row["correct"] for row in written] == [True, False, False, False]
    assert [row["correct_lenient"] for row in written] == [True, True, False, False]
    by = results.details(samples, {"too_long": 0})["by"]
    assert {name: (one["accuracy"]["value"], one["accuracy"]["n"]) for name, one in by.items()} == {
        "x": (0.5, 2),
        "y": (0.0, 2),
    }
    task = task_of(found)
    about = asking.about(task, reversed(samples), None)
    assert about["version"] == 3
    assert about["prompt_hash"] == prompt_hash(doc["messages"] for doc in found)
    assert about["prompt_hash"] != asking.about(task, samples, "First.")["prompt_hash"]
    assert about["readings"]["lenient"] == "residency.evaluation.extract.lenient"


def test_several_answers_are_written_out(path: Path) -> None:
    doc = docs(path)[0]
    (row,) = results.samples("t", [sample(doc, 0, ["<answer>A</answer>", "<answer>C</answer>", "?"])])
    assert row["share"] == pytest.approx(1 / 3)
    assert row["outputs"] == ["<answer>A</answer>", "<answer>C</answer>", "?"]
    assert row["all_extracted"] == ["A", "C", None]
    (figure, *_) = results.scores("t", [sample(doc, 0, ["<answer>A</answer>", "?", "?"])], {}, limited=False)
    assert (figure["n"], figure["unreadable"]) == (1, 2)


def test_pass_at_k_and_the_majority(path: Path) -> None:
    right, wrong, tagless = "<answer>A</answer>", "<answer>B</answer>", "the answer is A"
    doc = docs(path)[0]
    samples = [
        sample(doc, 0, [right, wrong, wrong, tagless]),
        sample(doc, 1, [right, right, wrong, "?"]),
        sample(doc, 2, [wrong, wrong, wrong, wrong]),
    ]
    rows = {row["metric"]: row for row in results.several("t", samples, limited=False)}
    names = ["pass@1", "pass@2", "pass@4", "maj@4"]
    assert list(rows) == [*names, *(f"{name}_lenient" for name in names)]
    # By hand: 1 - C(4 - c, k) / C(4, k) for c = 1, 2, 0 right answers strictly, 2, 2, 0 leniently.
    assert [rows[name]["value"] for name in names] == pytest.approx(
        [(1 / 4 + 2 / 4) / 3, (3 / 6 + 5 / 6) / 3, 2 / 3, 1 / 3]
    )
    assert [rows[f"{name}_lenient"]["value"] for name in names] == pytest.approx(
        [(2 / 4 + 2 / 4) / 3, (5 / 6 + 5 / 6) / 3, 2 / 3, 2 / 3]
    )
    assert (rows["pass@1"]["n"], rows["pass@1"]["unreadable"], rows["pass@1_lenient"]["unreadable"]) == (
        3,
        2,
        1,
    )
    assert results.several("t", [sample(doc, 0, [right])], limited=False) == []


def test_a_reading_of_ones_own(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_reading.py").write_text("def last(text, row):\n    return text.strip()[-1:]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    doc = docs(path, prompt={"strict": "own_reading.last"})[0]
    assert questions.readings(doc, "So it is A") == ("A", None)
    assert questions.readings(doc, "So it is Z") == (None, None), "what is no label has not been read"
