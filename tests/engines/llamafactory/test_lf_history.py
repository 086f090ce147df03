from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from residency.engines.llamafactory import history


def write(path: Path, *rows: dict[str, object], tail: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)


def row(step: int, **more: object) -> dict[str, object]:
    return {"current_steps": step, "total_steps": 4, "elapsed_time": f"0:01:0{step}", **more}


def test_rows(tmp_path: Path) -> None:
    write(
        tmp_path / "training" / history.LOG,
        row(1, loss=2.0, lr=1e-4, epoch=0.5, percentage=25.0, remaining_time="0:00:01"),
        row(2, loss=1.0, lr=5e-5, epoch=1.0),
        row(2, eval_loss=1.5, epoch=1.0),
        row(2, epoch=1.0),  # the summary at the end
        tail='{"current_steps": 3, "lo',
    )
    assert history.rows(tmp_path / "training", tmp_path) == [
        {"step": 1, "total": 4, "loss": 2.0, "learning_rate": 1e-4, "epoch": 0.5, "seconds": 61.0},
        {
            "step": 2,
            "total": 4,
            "loss": 1.0,
            "learning_rate": 5e-5,
            "epoch": 1.0,
            "seconds": 62.0,
            "eval_loss": 1.5,
        },
    ]


def test_no_log(tmp_path: Path) -> None:
    assert history.rows(tmp_path, tmp_path) == []
    assert history.progress(tmp_path, tmp_path).message == "starting"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0:00:07", 7), ("1:02:03", 3723), ("1 day, 0:00:01", 86401), ("12 days, 1:00:00", 1040400)],
)
def test_seconds(text: str, seconds: int) -> None:
    assert history.seconds(text) == seconds


STARTED = "Process rank: 0, world size: 1, device: cpu\n"
TOKENISING = "Running tokenizer on dataset:  40%|████      | 4000/10000 [00:02<00:03, 1900.00 examples/s]\r"
TRAINING = "***** Running training *****\n  Total optimization steps = 1,200\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starting"),
        (STARTED, "starting"),
        (STARTED + TOKENISING, "tokenising: 4,000 of 10,000 rows"),
        (STARTED + TOKENISING + "loading weights file /m/model.safetensors\n", "loading the model"),
    ],
)
def test_before_the_first_step(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "log.txt").write_text(text)
    found = history.progress(tmp_path / "training", tmp_path)
    assert (found.step, found.message) == (None, message)


def test_bar_goes_on_between_rows(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(
        "100%|##| 7/7 [00:01<00:00]\n"
        + TRAINING
        + "  1%|  | 12/1200 [00:12<10:00, 1.0s/it]\r 50%| | 4/8 [00:01<00:00]"
    )
    found = history.progress(tmp_path / "training", tmp_path)
    assert (found.step, found.total) == (12, 1200)
    write(
        tmp_path / "training" / history.LOG,
        {"current_steps": 10, "total_steps": 1200, "loss": 1.25, "lr": 1e-5},
    )
    found = history.progress(tmp_path / "training", tmp_path)
    assert (found.step, found.total) == (12, 1200)
    assert found.metrics["loss"] == 1.25


def test_a_gradient_that_is_no_number(tmp_path: Path) -> None:
    """The trainer then logs an average of earlier losses, so the loss alone tells nothing."""
    row = "{'loss': '0', 'grad_norm': '%s', 'learning_rate': '1e-05', 'epoch': '0.1'}\n"
    (tmp_path / "log.txt").write_text(TRAINING + row % "0.9" + row % "nan")
    assert math.isnan(history.progress(tmp_path / "training", tmp_path).metrics["gradient"])
    (tmp_path / "log.txt").write_text(TRAINING + row % "nan" + row % "1.2e+01")
    assert "gradient" not in history.progress(tmp_path / "training", tmp_path).metrics


def test_after_the_last_step(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text(
        TRAINING + " 100%| | 1200/1200 [10:00<00:00]\n***** Running Evaluation *****\n"
    )
    found = history.progress(tmp_path / "training", tmp_path)
    assert (found.step, found.message) == (1200, "evaluating")
