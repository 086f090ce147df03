"""What a finished training is told with a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.engines.base import Job
from residency.engines.verl import places
from residency.engines.verl.engine import _warnings
from residency.files import write_json


def warnings(folder: Path, logged: list[dict[str, Any]], report: dict[str, Any], **config: Any) -> list[str]:
    (folder / places.DATA).mkdir()
    write_json(folder / places.DATA / "report.json", report)
    return _warnings(Job("x", "rlvr", config, folder, folder, folder), logged)


def test_nothing_to_say(tmp_path: Path) -> None:
    rows = [{"step": 1, "unavailable": 0.0, "zero_variance_groups": 0.5}]
    assert warnings(tmp_path, rows, {"train": {"read": 8, "dropped": 0, "truncated": 0}, "val": None}) == []


def test_long_prompts_lost_rewards_and_flat_groups(tmp_path: Path) -> None:
    rows = [
        {"step": 1, "unavailable": 0.25, "zero_variance_groups": 1.0},
        {"step": 2, "unavailable": 0.0, "zero_variance_groups": 0.5},
    ]
    report = {"train": {"read": 1200, "dropped": 3, "truncated": 0}, "val": {"read": 9, "truncated": 2}}
    found = warnings(tmp_path, rows, report, gold_check=False)
    assert found == [
        "train: 3 of 1,200 prompts were dropped: too long",
        "val: 2 of 9 prompts were truncated: too long",
        "in 1 step some samples had no reward (up to 25%) and left the loss",
        "75% of the groups had equal rewards throughout, and taught nothing",
        "the rewards were not checked on gold answers (`gold_check: false`)",
    ]
