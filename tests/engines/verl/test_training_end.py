"""verl's exit status alone says nothing: what counts is the step that it reached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from residency.engines.verl import checkpoints, places, training
from residency.errors import StageFailed

STAGE: dict[str, Any] = {"test_freq": -1, "resume_path": False, "removed": [], "rewards": {}, "env": {}}


def checkpoint(folder: Path, step: int) -> None:
    """A whole checkpoint, in small."""
    path = folder / places.CHECKPOINTS / f"global_step_{step}"
    (path / "actor" / "huggingface").mkdir(parents=True)
    (path / "actor" / "model_world_size_1_rank_0.pt").write_bytes(b"weights")
    (path / "actor" / "huggingface" / "config.json").write_text("{}")
    (path / "data.pt").write_bytes(b"rows")
    checkpoints.mark(path)


class Verl:
    """In the place of verl's process."""

    def __init__(self, code: int, does: Callable[[], None]) -> None:
        self.code, self.does, self.runs = code, does, 0

    def run(self, arguments: Sequence[str], env: Mapping[str, str]) -> int:
        self.runs += 1
        self.does()
        return self.code


def train(folder: Path, *, before: int | None, reaches: int | None, code: int = 0) -> Verl:
    (folder / "outputs").mkdir()
    if before:
        checkpoint(folder, before)
    verl = Verl(code, lambda: checkpoint(folder, reaches) if reaches else None)
    training.train(STAGE, folder, 8, verl)  # type: ignore[arg-type]
    return verl


@pytest.mark.parametrize(("before", "reaches", "runs"), [(None, 8, 1), (4, 8, 1), (8, None, 0)])
def test_the_last_step_is_the_end(tmp_path: Path, before: int | None, reaches: int | None, runs: int) -> None:
    assert train(tmp_path, before=before, reaches=reaches).runs == runs


@pytest.mark.parametrize(
    ("before", "reaches", "code", "says"),
    [
        # verl resumes at the end of a pass over the data, trains nothing, and exits with 0.
        (4, None, 0, "ended without an error, and without a step beyond step 4"),
        (None, None, 0, "without a step beyond the first step"),
        (4, 6, 0, "ended at step 6 of 8"),
        (None, 8, 1, "verl failed"),
        (None, None, -9, "verl was ended by SIGKILL"),
    ],
)
def test_anything_else_is_a_failure(
    tmp_path: Path, before: int | None, reaches: int | None, code: int, says: str
) -> None:
    with pytest.raises(StageFailed, match=says):
        train(tmp_path, before=before, reaches=reaches, code=code)
