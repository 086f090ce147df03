"""The gold check on the prompts of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.engines.verl import gold, places
from residency.errors import RecipeInvalid, StageFailed

pyarrow = pytest.importorskip("pyarrow")


@pytest.fixture
def stage(tmp_path: Path) -> dict[str, Any]:
    import pyarrow.parquet

    rows = [
        {
            "prompt": [
                {"role": "system", "content": "You read."},
                {"role": "user", "content": f"Is {i} so?"},
            ],
            "data_source": "d",
            "reward_model": {"style": "rule", "ground_truth": label},
            "extra_info": {"index": i, "gold": f"<answer>{label}</answer>"},
        }
        for i, label in enumerate(["yes", "no", "yes"])
    ]
    (tmp_path / places.DATA).mkdir()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / places.TRAIN)
    return {"config": {"rewards": [{"fn": "rewards.study_questions.answer"}]}}


def test_passed(stage: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = gold.check(stage, tmp_path)
    assert (found["ok"], found["rows"], found["maximum"]) == (True, 3, 1.0)
    assert "answers to 3 questions" in capsys.readouterr().out
    stage["config"]["gold_check"] = {"rows": 1, "corruptions": ["empty"]}
    assert gold.check(stage, tmp_path)["cases"] == {"gold": 1, "empty": 2}


def test_failed(stage: dict[str, Any], tmp_path: Path) -> None:
    stage["config"]["rewards"] = [{"fn": "rewards.pubmedqa.published"}]
    with pytest.raises(StageFailed, match=r"row 1, gold: it scores 2\.4 and not"):
        gold.check(stage, tmp_path)


def test_without_gold(tmp_path: Path, stage: dict[str, Any]) -> None:
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(tmp_path / places.TRAIN).to_pylist()
    for row in rows:
        del row["extra_info"]["gold"]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / places.TRAIN)
    with pytest.raises(RecipeInvalid, match="no row has a gold answer"):
        gold.check(stage, tmp_path)
