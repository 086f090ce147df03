from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.transformers.verifier import measure, rows
from residency.engines.transformers.verifier.rows import Example
from residency.errors import StageFailed

COLUMNS = {name: name for name in rows.COLUMNS}


def write(path: Path, *found: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return path


def test_read(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        {"said": " yes ", "truth": 4, "ok": 1},
        {"said": "no", "truth": "b", "ok": "Wrong"},
        {"said": "no", "truth": "b", "ok": 0.0},
    )
    columns = {"response": "said", "reference": "truth", "label": "ok"}
    assert rows.read([path], columns) == [
        Example("yes", "4", True),
        Example("no", "b", False),
        Example("no", "b", False),
    ]


def test_rows_that_cannot_be_read(tmp_path: Path) -> None:
    good = {"response": "a", "reference": "b", "label": True}
    path = write(
        tmp_path / "a.jsonl", good, {**good, "label": 2}, {**good, "response": " "}, {**good, "reference": []}
    )
    with pytest.raises(StageFailed) as told:
        rows.read([path], COLUMNS)
    assert told.value.message == (
        "a.jsonl: row 2: `label` is 2, and a label is true or false, 1 or 0, right or wrong; "
        "row 3: `response` is ' ', not a text; row 4: `reference` is [], not a text"
    )
    with pytest.raises(StageFailed, match="holds no rows"):
        rows.read([write(tmp_path / "b.jsonl")], COLUMNS)
    with pytest.raises(StageFailed, match="no column `label` for the label") as told:
        rows.read([write(tmp_path / "c.jsonl", {"response": "a", "reference": "b", "labels": 1})], COLUMNS)
    assert "did you mean `labels`?" in (told.value.hint or "")
    (tmp_path / "d.jsonl").write_text(json.dumps(good) + "\n{broken\n")
    with pytest.raises(StageFailed, match=r"d\.jsonl:2: not JSON"):
        rows.read([tmp_path / "d.jsonl"], COLUMNS)


EXAMPLES = st.builds(
    Example, st.text("ab", min_size=1, max_size=3), st.text("ab", min_size=1, max_size=2), st.booleans()
)


@given(st.lists(EXAMPLES, min_size=2, max_size=40), st.floats(0.01, 0.5), st.integers(0, 5))
def test_hold_out(examples: list[Example], share: float, seed: int) -> None:
    if len({rows.pair(row) for row in examples}) < 2:
        with pytest.raises(StageFailed, match="too few"):
            rows.hold_out(examples, share, seed)
        return
    train, held = rows.hold_out(examples, share, seed)
    assert sorted(train + held) == sorted(examples)
    assert train
    assert held
    assert not {rows.pair(row) for row in train} & {rows.pair(row) for row in held}
    assert rows.hold_out(examples[::-1], share, seed)[1] == held[::-1]


def test_parts() -> None:
    right, wrong = Example("a", "a", True), Example("b", "a", False)
    assert rows.check_parts([right, wrong], [Example("c", "a", False)]) == []
    assert rows.check_parts([right, wrong], [right]) == ["1 of 1 held-out rows are trained on as well"]
    assert "far from balanced" in rows.check_parts([right] * 9 + [wrong], [])[0]
    with pytest.raises(StageFailed, match="all 2 rows to train on are labelled right"):
        rows.check_parts([right] * 2, [wrong])


def test_judge() -> None:
    labels = [True] * 100 + [False] * 100
    good = measure.judge(labels, [0.9] * 95 + [0.4] * 5 + [0.41] * 2 + [0.1] * 98, 0.4)
    assert good.figures["accuracy"] == pytest.approx(0.965)
    # Wilson, 193 of 200
    assert (good.figures["accuracy_low"], good.figures["accuracy_high"]) == pytest.approx(
        (0.929, 0.983), abs=1e-3
    )
    assert (good.figures["false_fail"], good.figures["false_pass"]) == (0.05, 0.02)
    assert good.warnings == []
    idle = measure.judge(labels, [0.9] * 200, 0.4)
    assert "may have learnt nothing" in idle.warnings[0]
    few = measure.judge([True, False] * 10, [0.9, 0.1] * 10, 0.4)
    assert few.figures["accuracy"] == 1.0
    assert "20 rows alone" in few.warnings[0]
    assert measure.judge([True], [0.9], 0.4).figures["false_pass"] is None
