"""RLOO and REINFORCE++ through the launcher: several passes over a batch, KL in the loss or in the reward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from verl_case import Flow, recipe, tiny

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip("verl")

CASES: dict[str, dict[str, Any]] = {
    "rloo": {"actor_rollout_ref": {"actor": {"ppo_epochs": 2, "use_kl_loss": True}}},
    "reinforce_plus_plus": {
        "algorithm": {"use_kl_in_reward": True, "kl_ctrl": {"kl_coef": 0.01}},
        "actor_rollout_ref": {"actor": {"ppo_epochs": 2, "clip_ratio_high": 0.28}},
    },
}


@pytest.mark.parametrize("estimator", CASES)
def test_an_estimator_trains(tmp_path: Path, estimator: str) -> None:
    model = tiny(tmp_path / "tiny")
    over = {**CASES[estimator]}
    over["algorithm"] = {**over.get("algorithm", {}), "adv_estimator": estimator}
    flow = Flow.make(tmp_path / "flow", recipe(model, verl=over)).done()
    rows = flow.rows()
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["grad_norm"] > 0 for row in rows)
    assert all("kl" in row for row in rows)

    from safetensors.torch import load_file

    trained = load_file(flow.stage / "outputs" / "model" / "model.safetensors")
    base = load_file(model / "model.safetensors")
    assert any(not trained[name].equal(base[name]) for name in base)
