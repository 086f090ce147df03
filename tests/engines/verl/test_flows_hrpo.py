"""HRPO on an adapter, whose result is a whole model: killed after its first step, resumed."""

from __future__ import annotations

from pathlib import Path

import pytest
from verl_case import Flow, recipe, tiny

from residency.engines import hf_folder
from residency.files import jsonl_rows

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip("verl")


def test_one_rollout_a_prompt_grouped_by_hops_trains_an_adapter(tmp_path: Path) -> None:
    model = tiny(tmp_path / "tiny")
    over = {
        "algorithm": {"adv_estimator": "hrpo"},
        "data": {"train_batch_size": 8},
        "actor_rollout_ref": {
            "model": {"lora_rank": 4, "lora_alpha": 8},
            "actor": {"ppo_mini_batch_size": 8, "optim": {"lr": 0.05}, "use_kl_loss": True},
            "rollout": {"n": 1},
        },
        "trainer": {"logger": ["console", "tensorboard", "wandb", "swanlab"]},
    }
    config = recipe(model, verl=over, checkpoints={"every": 1})
    flow = Flow.make(tmp_path / "flow", config, rows=8, WANDB_MODE="offline")
    process = flow.start()
    flow.when(
        process, lambda: list(flow.folder.glob("runs/store/*/checkpoints/global_step_*/residency.json"))
    )
    flow.kill_all()
    process.communicate()
    code, said = flow.run()
    assert code == 0, f"{said}\n{flow.log()[-4000:]}"
    assert "logging to swanlab is off" in said
    assert list(flow.stage.glob("tensorboard/**/events.out.tfevents.*"))
    assert list(flow.stage.glob("wandb/offline-run-*/*.wandb"))
    assert flow.state["resumed_from"] is not None
    assert [row["step"] for row in flow.rows()] == [1, 2]
    for row in flow.rows():
        assert row["grad_norm"] > 0, "groups of several prompts give advantages"
        assert "zero_variance_groups" not in row, "no prompt was answered twice"
    assert flow.rows()[-1]["kl"] > 0, "the reference is the model without its adapter"
    rollouts = jsonl_rows((flow.stage / "outputs" / "rollouts.jsonl").read_text())
    assert {row["group"] for row in rollouts} <= {1, 2, 3}

    from safetensors.torch import load_file

    found = flow.stage / "outputs" / "model"
    hf_folder.check_model(found)
    trained, base = (load_file(folder / "model.safetensors") for folder in (found, model))
    assert trained.keys() == base.keys()
    changed = {name for name in base if not trained[name].equal(base[name])}
    assert changed == {name for name in base if "_proj." in name}, "each linear layer, and nothing else"
