"""The order of a step's rollouts, and what the trainer itself knows."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from residency.engines.verl.driver import exact


def trainer(coefficient: float | None) -> Any:
    if coefficient is None:
        return SimpleNamespace()
    return SimpleNamespace(kl_ctrl_in_reward=SimpleNamespace(value=coefficient))


def test_rollouts_stand_in_the_order_of_their_prompts() -> None:
    names = exact.uids(12, 0, 3) + exact.uids(12, 3, 9)
    assert len(set(names)) == 12
    assert not any("_" in name for name in names), "verl cuts keys there"
    keys = [f"{name}_{session}_{part}" for name in names for session in range(12) for part in (0, 1)]
    shuffled = random.Random(1).sample(keys, len(keys))
    assert [shuffled[i] for i in exact.order(shuffled)] == keys
    assert exact.uids(99, 0, 1) < exact.uids(100, 0, 1)


def test_verls_own_names_have_an_order_too() -> None:
    keys = ["b3c1-4d_10_0", "b3c1-4d_2_0", "a1_0_0"]
    assert [keys[i] for i in exact.order(keys)] == ["a1_0_0", "b3c1-4d_2_0", "b3c1-4d_10_0"]


def test_an_adaptive_coefficient_is_taken_up_again(tmp_path: Path) -> None:
    exact.save(trainer(0.125), tmp_path)
    fresh = trainer(0.5)
    exact.load(fresh, tmp_path)
    assert fresh.kl_ctrl_in_reward.value == 0.125


def test_without_one_nothing_changes(tmp_path: Path) -> None:
    fresh = trainer(0.5)
    exact.load(fresh, tmp_path)
    assert fresh.kl_ctrl_in_reward.value == 0.5, "a checkpoint that verl alone has written"
    exact.save(trainer(None), tmp_path)
    exact.load(fresh, tmp_path)
    assert fresh.kl_ctrl_in_reward.value == 0.5
