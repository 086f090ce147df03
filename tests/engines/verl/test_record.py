"""What is kept of each step, and what ends a training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from residency.engines.verl.driver import requests
from residency.engines.verl.driver.record import BAD_STEPS, Diverged, Record, RolloutsFailed

pytest.importorskip("numpy")


@pytest.fixture
def record(tmp_path: Path) -> Record:
    (tmp_path / "outputs").mkdir()
    return Record(tmp_path, {"stop_share": 0.25, "per_step": 2})


def keys(count: int) -> list[str]:
    return [f"00000001-{i // 4:06d}_{i % 4}_0" for i in range(count)]


class TestFailedRollouts:
    def test_none(self, record: Record) -> None:
        assert record.stop_if_too_many_failed(1, keys(16), 16) == {}

    def test_some_are_counted(self, record: Record) -> None:
        assert record.stop_if_too_many_failed(1, keys(12), 16) == {"rewards/failed": 0.25}

    def test_more_than_allowed_end_the_training(self, record: Record) -> None:
        with pytest.raises(RolloutsFailed, match="step 3: 5 of 16 rollouts failed"):
            record.stop_if_too_many_failed(3, keys(11), 16)

    def test_a_rollout_of_several_parts_is_one(self, record: Record) -> None:
        parts = [key[:-1] + str(part) for key in keys(16) for part in (0, 1)]
        assert record.stop_if_too_many_failed(1, parts, 16) == {}


class TestDivergence:
    def metrics(self, **bad: Any) -> dict[str, Any]:
        return {"actor/entropy": 1.0, "actor/pg_loss": [0.1, 0.2], "actor/grad_norm": 2.0, **bad}

    def test_outputs_that_are_no_numbers_end_it_at_once(self, record: Record) -> None:
        record.stop_if_diverged(1, self.metrics())
        with pytest.raises(Diverged, match="step 2: the policy's outputs"):
            record.stop_if_diverged(2, self.metrics(**{"actor/entropy": math.nan}))

    @pytest.mark.parametrize("bad", [math.nan, math.inf, [0.1, math.nan]])
    def test_a_gradient_that_is_none_may_happen_now_and_then(self, record: Record, bad: Any) -> None:
        for step in range(1, 2 * BAD_STEPS):
            worse = step % BAD_STEPS != 0
            record.stop_if_diverged(step, self.metrics(**({"actor/grad_norm": bad} if worse else {})))

    def test_but_not_for_long(self, record: Record) -> None:
        for step in range(1, BAD_STEPS):
            record.stop_if_diverged(step, self.metrics(**{"actor/pg_loss": math.nan}))
        with pytest.raises(Diverged, match="pg_loss has not been a number for 3 steps"):
            record.stop_if_diverged(BAD_STEPS, self.metrics(**{"actor/pg_loss": math.nan}))


def test_a_seed_for_each_place() -> None:
    places = [(1, split, step, row, n) for split in "tv" for step in (1, 2) for row in "ab" for n in (0, 1)]
    seeds = [requests.seed(*place) for place in places]
    assert len(set(seeds)) == len(places)
    assert seeds == [requests.seed(*place) for place in places]
    assert all(0 <= number < 1 << 31 for number in seeds)
