"""What only a GPU shows of verl; see docs/gpu.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from verl_case import Flow, recipe, tiny

from residency.engines.verl.hardware import ROLLOUT
from residency.plan import machine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not machine.gpus(), reason="nvidia-smi shows no GPU"),
]
SPLIT = {"tensor_model_parallel_size": 1, "log_prob_micro_batch_size_per_gpu": 8}
ACTOR = {"ppo_micro_batch_size_per_gpu": 8, "use_kl_loss": True}


def on_gpu(model: Path, rollout: str, **more: object) -> dict:
    """GRPO with a reference model on one GPU, with the rollout engine of that name."""
    roll = {"name": rollout, **SPLIT, **more}
    ref = {"log_prob_micro_batch_size_per_gpu": 8}
    verl = {"actor_rollout_ref": {"actor": ACTOR, "rollout": roll, "ref": ref}}
    return recipe(model, hardware="gpu", resources={"gpus": 1}, verl=verl)


def test_grpo_with_the_transformers_rollout(tmp_path: Path) -> None:
    model = tiny(tmp_path / "tiny")
    flow = Flow.make(tmp_path / "flow", on_gpu(model, ROLLOUT)).done()
    assert [row["step"] for row in flow.rows()] == [1, 2]
    assert all(row["grad_norm"] > 0 for row in flow.rows())
    assert (flow.stage / "outputs" / "model" / "model.safetensors").is_file()


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not in this environment")
def test_grpo_with_vllm(tmp_path: Path) -> None:
    model = tiny(tmp_path / "tiny")
    flow = Flow.make(tmp_path / "flow", on_gpu(model, "vllm", gpu_memory_utilization=0.3)).done()
    assert [row["step"] for row in flow.rows()] == [1, 2]
    assert all(row["grad_norm"] > 0 for row in flow.rows())
