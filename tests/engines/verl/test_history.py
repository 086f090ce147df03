from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from residency.engines.base import Progress
from residency.engines.verl import history, places
from residency.files import write_json


def logged(folder: Path, attempt: int, *rows: dict[str, Any]) -> None:
    path = folder / places.LOGGED / f"{attempt}.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def step(number: int, reward: float, **more: Any) -> dict[str, Any]:
    data = {"rewards/total/mean": reward, "timing_s/step": 2.0, "rewards/format/mean": 0.5, **more}
    return {"step": number, "data": data}


def test_a_row_a_step_in_our_names(tmp_path: Path) -> None:
    logged(tmp_path, 1, step(1, 0.25, **{"actor/pg_clipfrac": 0.1, "perf/mfu/actor": 3.0}), step(2, 0.5))
    first, second = history.rows(tmp_path)
    assert first == {
        "step": 1,
        "seconds": 2.0,
        "reward": 0.25,
        "rewards/total/mean": 0.25,
        "step_seconds": 2.0,
        "rewards/format/mean": 0.5,
        "clip_fraction": 0.1,
    }
    assert second["seconds"] == 4.0


def test_steps_done_again_replace_the_lost_ones(tmp_path: Path) -> None:
    logged(tmp_path, 1, step(1, 0.1), step(2, 0.2), step(3, 0.3))
    logged(tmp_path, 2, step(2, 0.7))
    assert [(row["step"], row["reward"]) for row in history.rows(tmp_path)] == [(1, 0.1), (2, 0.7)]
    logged(tmp_path, 10, step(3, 0.9))
    assert [row["reward"] for row in history.rows(tmp_path)] == [0.1, 0.7, 0.9], "attempt 10 after 2"


def test_a_validation_before_the_first_step_has_its_row(tmp_path: Path) -> None:
    before = {"step": 0, "data": {"validation/total/mean": 0.2, "validation/n": 8.0}}
    logged(tmp_path, 1, before, step(1, 0.1))
    rows = history.rows(tmp_path)
    assert [row["step"] for row in rows] == [0, 1]
    assert rows[0]["validation/total/mean"] == 0.2


def test_a_value_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    logged(tmp_path, 1, step(1, 0.1, **{"actor/kl_loss": float("nan"), "actor/entropy": None}))
    (row,) = history.rows(tmp_path)
    assert "kl" not in row
    assert "entropy" not in row


def test_a_line_still_being_written_is_passed_over(tmp_path: Path) -> None:
    logged(tmp_path, 1, step(1, 0.1))
    with (tmp_path / places.LOGGED / "1.jsonl").open("a") as stream:
        stream.write('{"step": 2, "da')
    assert len(history.rows(tmp_path)) == 1


@pytest.mark.parametrize(
    ("said", "line", "message"),
    [
        ("reading the prompts", "", "reading the prompts"),
        ("training", "ray init kwargs: {}", "starting Ray"),
        ("training", "ray init kwargs\nready to fit", "first rollouts"),
        ("training", "", "starting verl"),
    ],
)
def test_before_the_first_step_it_says_what_it_does(
    tmp_path: Path, said: str, line: str, message: str
) -> None:
    write_json(tmp_path / places.PHASE, {"doing": said})
    (tmp_path / "log.txt").write_text(line)
    assert history.progress(tmp_path, None).message == message


def test_an_attempt_that_goes_on_says_what_it_does_until_its_own_first_step(tmp_path: Path) -> None:
    logged(tmp_path, 1, step(1, 0.1))
    os.utime(tmp_path / places.LOGGED / "1.jsonl", ns=(1, 1))
    write_json(tmp_path / places.PHASE, {"doing": "training"})
    (tmp_path / "log.txt").write_text("ray init kwargs: {}")
    assert history.progress(tmp_path, 10) == Progress(message="starting Ray")
    (tmp_path / places.LOGGED / "2.jsonl").touch()
    assert history.progress(tmp_path, 10).step is None
    logged(tmp_path, 2, step(2, 0.4))
    assert (history.progress(tmp_path, 10).step, history.progress(tmp_path, 10).message) == (2, "")
    write_json(tmp_path / places.PHASE, {"doing": "writing the model"})
    assert history.progress(tmp_path, 2).step == 2


def test_the_latest_figures_are_shown(tmp_path: Path) -> None:
    write_json(tmp_path / places.PHASE, {"doing": "training"})
    logged(tmp_path, 1, step(1, 0.1), step(2, 0.4, **{"response_length/mean": 12.0}))
    found = history.progress(tmp_path, 10)
    assert (found.step, found.total, found.message) == (2, 10, "")
    assert found.metrics == {"reward": 0.4, "response_length": 12.0}
