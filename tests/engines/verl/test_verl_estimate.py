"""Memory of a training by verl, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.engines.base import Job, MemoryEstimate
from residency.engines.verl import estimate, tree

P = 8_030_261_248
"""Parameters of Llama 3.1 8B."""
GIB = 1 << 30
BLOCK: dict[str, Any] = {
    "algorithm.adv_estimator": "grpo",
    "data.max_prompt_length": 512,
    "data.max_response_length": 512,
    "actor_rollout_ref.model.path": "meta-llama/Llama-3.1-8B-Instruct",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 2,
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 2,
    "actor_rollout_ref.rollout.name": "vllm",
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
    "trainer.total_training_steps": 10,
}


def of(tmp_path: Path, gpus: int = 8, **more: Any) -> MemoryEstimate | None:
    flat = {**BLOCK, **{name.replace("__", "."): value for name, value in more.items()}}
    config = {
        "kind": "rlvr", "name": "x", "dataset": "d", "rewards": [{"fn": "rewards.x.y"}],
        "verl": tree.nest(flat),
    }  # fmt: skip
    return estimate.of(Job("x", "rlvr", config, tmp_path / "k", tmp_path, tmp_path, gpus=gpus))


def sure(tmp_path: Path, gpus: int = 8, **more: Any) -> MemoryEstimate:
    found = of(tmp_path, gpus, **more)
    assert found is not None
    return found


def test_nothing_on_a_cpu_or_for_an_unknown_model(tmp_path: Path) -> None:
    assert of(tmp_path, 0) is None
    assert of(tmp_path, actor_rollout_ref__model__path="someone/something") is None


def test_full_training_is_float32_and_sharded(tmp_path: Path) -> None:
    """16 bytes a parameter over all ranks: weights 4, gradients 4, Adam 8."""
    made = sure(tmp_path)
    assert made.parameters == made.trainable == P
    assert (made.weights, made.gradients, made.optimizer) == (P * 4 // 8, P * 4 // 8, P * 8 // 8)
    half = sure(tmp_path, actor_rollout_ref__actor__fsdp_config__model_dtype="bfloat16")
    assert half.weights + half.gradients + half.optimizer == P * 8 // 8


def test_lora_trains_little(tmp_path: Path) -> None:
    made = sure(tmp_path, actor_rollout_ref__model__lora_rank=16)
    assert made.trainable == 16 * 32 * (4096 * 2 + 2 * (4096 + 1024) + 4096 * 2 + 3 * (4096 + 14336))
    assert made.weights == P * 4 // 8
    assert made.optimizer == made.trainable * 8 // 8


def test_the_total_is_a_gpu_that_holds_every_phase(tmp_path: Path) -> None:
    """Beside an engine that takes 90 % little may stay: offloading is what lowers the total."""
    stays = sure(tmp_path, 2, actor_rollout_ref__rollout__gpu_memory_utilization=0.9)
    fsdp = "actor_rollout_ref__actor__fsdp_config__"
    moved = sure(
        tmp_path,
        2,
        actor_rollout_ref__rollout__gpu_memory_utilization=0.9,
        **{f"{fsdp}param_offload": True, f"{fsdp}optimizer_offload": True},
    )
    assert stays.total == pytest.approx((P * 12 / 2 + GIB) / 0.1, rel=0.001)
    assert moved.total < stays.total / 2
    assert "what stays beside the engine is what asks for a GPU of this size" in stays.notes
    assert stays.advice.index(
        "verl.actor_rollout_ref.actor.fsdp_config.optimizer_offload: true"
    ) < stays.advice.index("verl.actor_rollout_ref.rollout.gpu_memory_utilization: 0.4")
    assert not any("offload" in words for words in moved.advice)


def test_a_small_share_must_hold_the_engines_weights(tmp_path: Path) -> None:
    small = sure(
        tmp_path, 64, trainer__n_gpus_per_node=64, actor_rollout_ref__rollout__gpu_memory_utilization=0.1
    )
    assert small.total > (2 * P + GIB) / 0.1
    split = sure(
        tmp_path,
        64,
        trainer__n_gpus_per_node=64,
        actor_rollout_ref__rollout__gpu_memory_utilization=0.1,
        actor_rollout_ref__rollout__tensor_model_parallel_size=4,
    )
    assert split.total < small.total


def test_a_critic_stays_beside_the_actor(tmp_path: Path) -> None:
    few = {
        "actor_rollout_ref__rollout__tensor_model_parallel_size": 8,
        "actor_rollout_ref__rollout__gpu_memory_utilization": 0.2,
    }
    critic = {
        "algorithm__adv_estimator": "gae",
        "critic__ppo_micro_batch_size_per_gpu": 2,
        "critic__model__path": BLOCK["actor_rollout_ref.model.path"],
    }
    alone = sure(tmp_path, **few)
    both = sure(tmp_path, **few, **critic)
    assert both.total - alone.total == pytest.approx(P * 12 / 8, rel=0.05)
    fsdp = ("critic__fsdp", "actor_rollout_ref__actor__fsdp_config")
    offloaded = {f"{name}__{part}_offload": True for name in fsdp for part in ("param", "optimizer")}
    off = sure(tmp_path, **few, **critic, **offloaded)
    assert off.total == pytest.approx(alone.total, rel=0.05)


def test_tokens_a_gpu_with_dynamic_batches(tmp_path: Path) -> None:
    one = sure(
        tmp_path, actor_rollout_ref__actor__use_dynamic_bsz=True,
        actor_rollout_ref__actor__ppo_max_token_len_per_gpu=2048,
    )  # fmt: skip
    two = sure(
        tmp_path, actor_rollout_ref__actor__use_dynamic_bsz=True,
        actor_rollout_ref__actor__ppo_max_token_len_per_gpu=4096,
    )  # fmt: skip
    assert two.activations == pytest.approx(2 * one.activations)
    assert one.notes[0] == "2,048 tokens a GPU at a time"
    assert one.activations == sure(tmp_path).activations  # 2 rows of 1,024


def test_an_engine_that_keeps_its_memory(tmp_path: Path) -> None:
    few = {
        "actor_rollout_ref__rollout__tensor_model_parallel_size": 8,
        "actor_rollout_ref__rollout__gpu_memory_utilization": 0.2,
    }
    freed = sure(tmp_path, **few)
    kept = sure(tmp_path, **few, actor_rollout_ref__rollout__free_cache_engine=False)
    assert kept.total == pytest.approx(freed.total / 0.8, rel=0.001)


def test_a_value_of_the_wrong_type_is_left_to_the_schema(tmp_path: Path) -> None:
    assert of(tmp_path, data__max_prompt_length="many") is None
