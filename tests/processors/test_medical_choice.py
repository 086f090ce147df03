"""Published sets of questions with options, read as ours: the real files, and every bad row."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.medical_choice import options_in_text, read_huatuo, read_medxpertqa
from residency.errors import StageFailed
from residency.processing import Report

MEDXPERTQA = (
    "raw.githubusercontent.com/TsinghuaC3I/MedXpertQA/f21247d3ccf3b14826ff2aa7fa06e1a46d64058c/eval/data"
)
HUATUO = (
    "raw.githubusercontent.com/FreedomIntelligence/HuatuoGPT-o1/2c8d7fcaadaad44000eb1765cbe36a09968a0164"
    "/data/demo_data.json"
)


@pytest.mark.parametrize(
    ("path", "args", "rows", "options", "labels"),
    [
        ("medqa/input/medqa_input.jsonl", {}, 1273, {4}, {"A": 353, "B": 309, "C": 346, "D": 265}),
        ("medmcqa/input/medmcqa_input.jsonl", {}, 4183, {4}, {"A": 1348, "B": 1085, "C": 925, "D": 825}),
        (
            "mmlu_medical/input/mmlu_medical_input.jsonl",
            {"ids": "made", "repeated": "keep"},
            1089,
            {4},
            {"A": 235, "B": 254, "C": 248, "D": 352},
        ),
        (
            "medxpertqa_sampled/input/medxpertqa_sampled_text_input.jsonl",
            {},
            244,
            {10},
            dict(zip("ABCDEFGHIJ", (27, 21, 17, 31, 30, 19, 22, 20, 26, 31), strict=True)),
        ),
    ],
)
def test_the_real_sets(
    mirror_dir: Path, path: str, args: dict[str, Any], rows: int, options: set[int], labels: dict[str, int]
) -> None:
    report = Report()
    file = {"path": str(mirror_dir / MEDXPERTQA / path), "source": path.partition("/")[0]}
    found = list(read_medxpertqa(iter([file]), report=report, **args))
    assert (len(found), report.kept, report.dropped) == (rows, rows, {})
    assert Counter(row["label"] for row in found) == labels
    assert {len(row["options"]) for row in found} == options
    assert len({row["id"] for row in found}) == rows
    assert all(row["answer"] == row["options"][row["label"]] for row in found)
    assert not any("Answer Choices" in row["question"] for row in found)
    assert report.notes == ({"questions that came before": 78} if "mmlu" in path else {})


def test_the_real_demonstration_rows(mirror_dir: Path) -> None:
    found = list(read_huatuo(iter([{"path": str(mirror_dir / HUATUO), "source": "demo"}])))
    assert len(found) == 198
    assert Counter(len(row["options"]) for row in found) == {4: 176, 5: 22}
    assert (found[0]["id"], found[0]["label"], found[0]["answer"]) == (
        "demo:1",
        "D",
        "Parvovirus B19 infection",
    )


# ---- bad rows


def good(number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "id": f"q{number}",
        "question": f"Which {number}?\nAnswer Choices: (A) one (B) both (A) and none (C) three",
        "label": ["B"],
        **more,
    }


def run(path: Path, rows: list[Any], reader: Any = read_medxpertqa, **args: Any) -> tuple[list[Any], Report]:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    report = Report()
    return list(reader(iter([{"path": str(path), "source": "set"}]), report=report, **args)), report


BAD = [
    ({"id": ""}, "it has no id", "no id"),
    ({"id": None}, "it has no id", "no id"),
    ({"label": []}, "it has no label", "no label"),
    ({"label": None}, "it has no label", "no label"),
    ({"label": ["D"]}, "its label 'D' is none of its options, A, B, C", "a label outside the options"),
    ({"label": ["A", "B"]}, "it has 2 labels: A, B", "several labels"),
    ({"question": "\nAnswer Choices: (A) x (B) y"}, "it has no question", "no question"),
    ({"question": "Which?"}, "no “Answer Choices:”", "options that cannot be read"),
    ({"question": "Which?\nAnswer Choices: (A) one"}, "it has 1 options", "options that cannot be read"),
    ({"question": "Which?\nAnswer Choices: (A) one (B)"}, "its option B is empty", "an empty option"),
    ({"question": "Which?\nAnswer Choices: (A) (B) y"}, "its option A is empty", "an empty option"),
    (
        {"options": [{"letter": "A", "content": "one"}, {"letter": "B", "content": "two"}]},
        "its options are not those in its question",
        "options that cannot be read",
    ),
    ({"id": "q0"}, "its id q0 is that of x.jsonl: row 1", "an id that came before"),
]


@pytest.mark.parametrize(("change", "words", "kind"), BAD)
def test_a_bad_row_is_named_and_nothing_is_made_up(
    tmp_path: Path, change: dict[str, Any], words: str, kind: str
) -> None:
    rows = [good(0), good(1) | change, good(2)]
    with pytest.raises(StageFailed, match="1 of 3 rows are no questions") as caught:
        run(tmp_path / "x.jsonl", rows)
    assert "x.jsonl: row 2: " in str(caught.value)
    assert words in str(caught.value)
    found, report = run(tmp_path / "x.jsonl", rows, bad="leave_out")
    assert [row["id"] for row in found] == ["q0", "q2"]
    assert report.dropped == {kind: 1}
    assert report.examples[kind][0].startswith("x.jsonl: row 2: ")


def test_all_bad_rows_are_counted_at_once(tmp_path: Path) -> None:
    rows: list[Any] = [good(n) | BAD[n % 5][0] for n in range(30)]
    rows += ["{broken", "[1]"]
    with pytest.raises(StageFailed) as caught:
        run(tmp_path / "x.jsonl", rows)
    assert "32 of 32 rows are no questions" in str(caught.value)
    assert "and 22 more" in str(caught.value)
    _, report = run(tmp_path / "x.jsonl", [*rows, good(99)], bad="leave_out")
    assert sum(report.dropped.values()) == 32
    assert report.dropped["not JSON"] == report.dropped["no mapping"] == 1
    assert (report.read, report.kept) == (33, 1)


def test_a_question_that_came_before(tmp_path: Path) -> None:
    rows = [good(1), good(1, id="other"), good(2)]
    with pytest.raises(StageFailed, match=r"row 2: its question is that of x\.jsonl: row 1"):
        run(tmp_path / "x.jsonl", rows)
    found, report = run(tmp_path / "x.jsonl", rows, repeated="leave_out")
    assert (len(found), report.dropped) == (2, {"a question that came before": 1})
    found, report = run(tmp_path / "x.jsonl", rows, repeated="keep")
    assert (len(found), report.notes) == (3, {"questions that came before": 1})


def test_what_is_left_out_and_what_fails_are_chosen_apart(tmp_path: Path) -> None:
    rows = [good(1), good(1, id="other"), good(2, label=[])]
    with pytest.raises(StageFailed, match="1 of 3 rows"):
        run(tmp_path / "x.jsonl", rows, bad="leave_out")
    with pytest.raises(StageFailed, match="1 of 3 rows"):
        run(tmp_path / "x.jsonl", rows, repeated="keep")
    found, _ = run(tmp_path / "x.jsonl", rows, repeated="keep", bad="leave_out")
    assert len(found) == 2


def test_ids_can_be_made(tmp_path: Path) -> None:
    row = good()
    del row["id"]
    found, _ = run(tmp_path / "x.jsonl", [row, good(2)], ids="made")
    assert [one["id"] for one in found] == ["set:1", "set:2"]


# ---- HuatuoGPT-o1's form


def huatuo(number: int = 1, **more: Any) -> dict[str, Any]:
    row = {"question": f"Which {number}?", "options": {"A": "one", "B": "two", "C": None}, "answer_idx": "B"}
    return row | more


def test_a_file_by_source(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = json.dumps({"MedQA": [huatuo(1), huatuo(2)], "PubMedQA": [huatuo(3, answer="two")]})
    found, _ = run(path, [text], read_huatuo)
    assert [(row["id"], row["source"]) for row in found] == [
        ("MedQA:1", "MedQA"),
        ("MedQA:2", "MedQA"),
        ("PubMedQA:1", "PubMedQA"),
    ]
    assert found[0]["options"] == {"A": "one", "B": "two"}
    found, _ = run(path, [text], read_huatuo, sources=["PubMedQA"])
    assert [row["id"] for row in found] == ["PubMedQA:1"]
    with pytest.raises(StageFailed, match="no source PubMed") as caught:
        run(path, [text], read_huatuo, sources="PubMed")
    assert caught.value.hint == "the file has MedQA, PubMedQA"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"answer_idx": "C"}, "its label 'C' is none of its options, A, B"),
        ({"answer_idx": None}, "it has no label"),
        ({"answer": "one"}, "its answer 'one' is not its option B"),
        ({"options": {"A": "one", "B": " "}}, "its option B is empty"),
        ({"options": {"A": "one", "C": "two"}}, "its options are A, C, and must be A to B without a gap"),
        ({"options": {}}, "it has 0 options"),
        ({"options": "A one B two"}, "it has no options"),
        ({"question": None}, "it has no question"),
    ],
)
def test_bad_rows_of_that_form(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    text = json.dumps({"MedQA": [huatuo(1), huatuo(2) | change]})
    with pytest.raises(StageFailed, match="1 of 2 rows are no questions") as caught:
        run(tmp_path / "x.json", [text], read_huatuo)
    assert f"x.json: MedQA, row 2: {words}" in str(caught.value)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StageFailed, match="cannot be read"):
        list(read_medxpertqa(iter([{"path": str(tmp_path / "x.jsonl"), "source": "x"}])))


@given(st.lists(st.text("abc ()&A,", min_size=1, max_size=20).filter(str.strip), min_size=1, max_size=10))
def test_options_are_found_as_they_were_written(texts: list[str]) -> None:
    letters = "ABCDEFGHIJ"[: len(texts)]
    written = " ".join(f"({letter}) {text}" for letter, text in zip(letters, texts, strict=True))
    assert options_in_text(written) == {
        letter: text.strip() for letter, text in zip(letters, texts, strict=True)
    }
