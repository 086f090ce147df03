"""What surrounds verl's process: what a resumed one is told, what is left behind."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from residency.engines.verl import checkpoints, history, places, training
from residency.files import jsonl_rows, write_json

STAGE: dict[str, Any] = {"test_freq": 2, "resume_path": False}


def at(step: int) -> checkpoints.Checkpoint:
    return checkpoints.Checkpoint(step, Path(f"global_step_{step}"))


def validated(folder: Path, step: int) -> None:
    (folder / places.LOGGED).mkdir()
    row = {"step": step, "data": {"validation/n": 4.0, "timing_s/step": 1.0}}
    (folder / places.LOGGED / "1.jsonl").write_text(json.dumps(row) + "\n")


class TestWhatAResumedTrainingIsTold:
    def test_the_first_attempt_nothing(self, tmp_path: Path) -> None:
        assert training._first({**STAGE, "resume_path": True}, tmp_path, None) == []

    def test_to_validate_what_was_to_be_validated_and_was_not(self, tmp_path: Path) -> None:
        assert training._first(STAGE, tmp_path, at(4)) == []

    def test_not_to_validate_what_was_validated(self, tmp_path: Path) -> None:
        validated(tmp_path, 4)
        assert training._first(STAGE, tmp_path, at(4)) == ["trainer.val_before_train=false"]

    @pytest.mark.parametrize("every", [2, -1, None])
    def test_nor_what_was_not_to_be(self, tmp_path: Path, every: int | None) -> None:
        found = training._first({**STAGE, "test_freq": every}, tmp_path, at(3))
        assert found == ["trainer.val_before_train=false"]

    def test_to_go_on_from_its_own_checkpoint(self, tmp_path: Path) -> None:
        found = training._first({**STAGE, "resume_path": True}, tmp_path, at(4))
        assert found == ["trainer.resume_mode=auto"]


class TestAStepThatWasKilledBeforeItWasLogged:
    def kept(self, folder: Path, step: int) -> checkpoints.Checkpoint:
        path = folder / f"global_step_{step}"
        path.mkdir()
        row = {"step": step, "data": {"rewards/total/mean": 0.7, "timing_s/step": 2.0}}
        write_json(path / places.FIGURES, row)
        return checkpoints.Checkpoint(step, path)

    def rows(self, folder: Path) -> list[tuple[int, float | None]]:
        return [(row["step"], row.get("reward")) for row in history.rows(folder)]

    def test_has_the_row_of_its_checkpoint(self, tmp_path: Path) -> None:
        logged = tmp_path / places.LOGGED
        logged.mkdir()
        first = {"step": 1, "data": {"rewards/total/mean": 0.1, "timing_s/step": 2.0}}
        (logged / "1.jsonl").write_text(json.dumps(first) + "\n")
        last = self.kept(tmp_path, 2)
        for _ in range(2):
            training._remember(tmp_path, last)
            assert self.rows(tmp_path) == [(1, 0.1), (2, 0.7)]
        assert len(history.attempts(tmp_path)) == 2, "once is enough"

    def test_keeps_the_row_that_was_logged(self, tmp_path: Path) -> None:
        validated(tmp_path, 2)
        training._remember(tmp_path, self.kept(tmp_path, 2))
        assert self.rows(tmp_path) == [(2, None)]

    def test_a_validation_alone_is_no_row_of_the_step(self, tmp_path: Path) -> None:
        (tmp_path / places.LOGGED).mkdir()
        row = {"step": 2, "data": {"validation/n": 4.0}}
        (tmp_path / places.LOGGED / "1.jsonl").write_text(json.dumps(row) + "\n")
        training._remember(tmp_path, self.kept(tmp_path, 2))
        assert self.rows(tmp_path) == [(2, 0.7)]

    def test_a_checkpoint_of_an_older_version_has_none(self, tmp_path: Path) -> None:
        (tmp_path / places.LOGGED).mkdir()
        training._remember(tmp_path, at(2))
        assert self.rows(tmp_path) == []


def test_rollouts_that_will_be_made_again_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / places.ROLLOUTS
    rows = [{"step": step, "answer": "a\u2028b\nü"} for step in (0, 1, 2, 3)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows) + '{"step": 4, "cut')
    training._forget(path, 2)
    assert jsonl_rows(path.read_text()) == rows[:3]
    training._forget(path, -1)
    assert path.read_text() == ""
    training._forget(tmp_path / "nothing", 2)
    assert not (tmp_path / "nothing").exists()


class TestRaysFolder:
    def test_is_the_stages_own_and_short(self, tmp_path: Path) -> None:
        one, other = places.ray_folder(tmp_path / "a" / "stage"), places.ray_folder(tmp_path / "b" / "stage")
        assert one != other
        assert one == places.ray_folder(tmp_path / "a" / "stage")

    def test_stays_short_below_a_long_temporary_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        long = tmp_path / ("x" * 60)
        long.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(long))
        folder = places.ray_folder(tmp_path)
        assert len(str(folder)) < 30
        assert folder.parent == Path("/tmp")
