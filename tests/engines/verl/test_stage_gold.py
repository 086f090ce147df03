"""The gold check on the prompts of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.engines.verl import gold, main, places
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


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        ("float('nan')", "it returned nan"),
        ("'1.0'", "the text '1.0', not a number"),
        ("None", "it returned nothing"),
        ("1 / 0", "ZeroDivisionError"),
        ("1.0", None),
    ],
)
def test_rewards_are_tried_out_where_the_check_is_left_out(
    stage: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returns: str, says: str | None
) -> None:
    name = f"tried_out_{abs(hash(returns))}"
    (tmp_path / f"{name}.py").write_text(f"def score(solution_str):\n    return {returns}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    fn = {"fn": f"{name}.score", "name": "mine"}
    stage["config"] = {"rewards": [fn], "gold_check": False, "reward_calls": {"retries": 0}}
    if says is None:
        main.check_rewards(stage, tmp_path)
        return
    with pytest.raises(StageFailed) as caught:
        main.check_rewards(stage, tmp_path)
    assert "`mine` gave none of 9 answers a score" in str(caught.value)
    assert says in str(caught.value)
    # What does not count for the reward may fail.
    stage["config"]["rewards"] = [{**fn, "weight": 0}, {"fn": "rewards.study_questions.answer"}]
    main.check_rewards(stage, tmp_path)


def test_a_ground_truth_of_another_shape_is_found_before_training(
    stage: dict[str, Any], tmp_path: Path
) -> None:
    stage["config"] = {"rewards": [{"fn": "rewards.sample_size.answer"}], "gold_check": False}
    with pytest.raises(StageFailed, match="the ground truth was 'yes'"):
        main.check_rewards(stage, tmp_path)
