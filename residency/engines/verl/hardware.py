"""What verl is told of the hardware: the `cpu` and the `gpu` profile.

On a CPU verl needs a platform and a rollout of our own (driver/platform.py, driver/rollout.py) and
some settings that stand for a GPU's. The recipe's own keys win, but for those that cannot work.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ROLLOUT = "transformers"
"""The rollout of driver/rollout.py, by its name in verl's registry."""
PLUGIN = "residency.engines.verl.driver.platform"

VERL_DEFAULTS: dict[str, Any] = {
    "data.train_batch_size": 1024,
    "data.max_prompt_length": 512,
    "data.max_response_length": 512,
    "trainer.total_epochs": 30,
    "actor_rollout_ref.rollout.n": 1,
}
"""verl's own defaults, of the keys that the launcher reckons with."""


@dataclass(slots=True)
class Profile:
    """What a profile sets."""

    defaults: dict[str, Any] = field(default_factory=dict)
    """Keys that the recipe may set otherwise."""
    forced: dict[str, Any] = field(default_factory=dict)
    """Keys that cannot be otherwise on this hardware."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: shown by `plan`."""


def cpu_settings(*, threads: int, ranks: int, given: Mapping[str, Any]) -> Profile:
    """verl on a CPU."""
    dtype = {"param_dtype": "fp32", "reduce_dtype": "fp32"}
    defaults: dict[str, Any] = {
        "data.dataloader_num_workers": 0,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 8,
        "critic.ppo_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.model.enable_gradient_checkpointing": False,
        "critic.model.enable_gradient_checkpointing": False,
    }
    forced: dict[str, Any] = {
        "trainer.device": "cpu",
        "trainer.nnodes": 1,
        "trainer.n_gpus_per_node": ranks,
        "actor_rollout_ref.model.use_remove_padding": False,
        "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "critic.model.use_remove_padding": False,
        "critic.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.rollout.name": ROLLOUT,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "actor_rollout_ref.rollout.free_cache_engine": False,
        "actor_rollout_ref.rollout.agent.num_workers": 1,
        "reward.num_workers": 1,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": 1,
        # Ray hands out devices; on a CPU they stand for ranks.
        "ray_kwargs.ray_init.num_gpus": ranks,
        "ray_kwargs.ray_init.num_cpus": 16 + 2 * ranks,
    }
    for role in ("actor_rollout_ref.actor", "actor_rollout_ref.ref", "critic"):
        engine = f"{role}.model.fsdp_config" if role == "critic" else f"{role}.fsdp_config"
        defaults[f"{engine}.model_dtype"] = "fp32"
        forced[f"{role}.strategy"] = "fsdp2"
        forced[f"{engine}.use_torch_compile"] = False
        forced[f"{engine}.param_offload"] = False
        for name, value in dtype.items():
            forced[f"{engine}.mixed_precision.{name}"] = value
    forced["actor_rollout_ref.actor.fsdp_config.optimizer_offload"] = False
    forced["critic.model.fsdp_config.optimizer_offload"] = False
    notes = [
        f"verl runs on the CPU: FSDP2, fp32, rollouts by transformers, {ranks} rank(s), {threads} threads"
    ]
    return Profile(defaults, forced, notes)


def cpu_env(*, threads: int, ranks: int) -> dict[str, str]:
    """The environment of every process of verl on a CPU."""
    return {
        "VERL_PLATFORM": "cpu",
        "VERL_ENGINE_DEVICE": "cuda",
        "VERL_USE_EXTERNAL_MODULES": PLUGIN,
        "OMP_NUM_THREADS": str(max(1, threads // ranks)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "CUDA_VISIBLE_DEVICES": "",
    }


def gpu_settings(*, gpus: int, given: Mapping[str, Any]) -> Profile:
    """verl as it is; the recipe says which rollout engine and how it is split."""
    return Profile(defaults={"trainer.n_gpus_per_node": gpus, "trainer.nnodes": 1})
