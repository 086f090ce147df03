"""What verl is told of the hardware: the `cpu` and the `gpu` profile.

On a CPU verl needs a platform and a rollout of our own (driver/platform.py, driver/rollout.py) and
some settings that stand for a GPU's. The recipe's own keys win, but for those that cannot work.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROLLOUT = "transformers"
"""The rollout of driver/rollout.py, by its name in verl's registry."""
PLUGIN = "residency.engines.verl.driver.platform"
ROLLOUT_PLUGIN = "residency.engines.verl.driver.rollout"
"""What a GPU run with that rollout loads in the place of PLUGIN."""
CRITIC_PLUGIN = "residency.engines.verl.driver.critic"
"""What a GPU run without flash attention loads."""

VERL_DEFAULTS: dict[str, Any] = {
    "data.train_batch_size": 1024,
    "data.max_prompt_length": 512,
    "data.max_response_length": 512,
    "trainer.total_epochs": 30,
    "actor_rollout_ref.rollout.n": 1,
}
"""verl's own defaults, of the keys that the launcher reckons with."""

MINI_BATCH = 256
"""verl's default of `ppo_mini_batch_size`."""
MOST_ROWS = 16
"""Rows in one pass on a CPU."""

NO_FLASH = "flash-attn is not installed"
"""Why a GPU run does without flash attention."""
_MODEL = "actor_rollout_ref.model"
_ROLLOUT = "actor_rollout_ref.rollout"


@dataclass(slots=True)
class Profile:
    """What a profile sets."""

    defaults: dict[str, Any] = field(default_factory=dict)
    """Keys that the recipe may set otherwise."""
    forced: dict[str, Any] = field(default_factory=dict)
    """Keys that cannot be otherwise on this hardware."""
    notes: list[str] = field(default_factory=list)
    """What the user should know: shown by `plan`."""
    why: dict[str, str] = field(default_factory=dict)
    """Each key of `defaults` and `forced` → why it is set, in a few words."""

    def told(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """What it sets, a line for each reason; what it puts in the place of the recipe's own first.

        Args:
            given: The recipe's own keys.
        """
        instead = [
            f"{key}: {value!r} instead of {given[key]!r} ({self.why[key]})"
            for key, value in self.forced.items()
            if key in given and given[key] != value
        ]
        sets: dict[str, list[str]] = {}
        for key, value in {**self.defaults, **self.forced}.items():
            if key not in given:
                sets.setdefault(self.why[key], []).append(f"{key}: {value!r}")
        return (*instead, *(f"{why}: {', '.join(keys)}" for why, keys in sets.items()))

    def default(self, key: str, value: Any, why: str) -> None:
        """Set a key that the recipe may set otherwise."""
        self.defaults[key], self.why[key] = value, why

    def force(self, key: str, value: Any, why: str) -> None:
        """Set a key that cannot be otherwise."""
        self.forced[key], self.why[key] = value, why


def multiplies_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware: AVX512-BF16, AMX, or Arm's BF16.

    Elsewhere bfloat16 is emulated, and slower than float32. False where it cannot be told.
    """
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(value.split())
    return False


def rows_of_a_rank(given: Mapping[str, Any], ranks: int) -> tuple[int, int, int]:
    """Answers that one rank has of a step, of the actor's mini-batch and of the critic's."""

    def number(key: str, otherwise: int) -> int:
        value = given.get(key)
        return value if isinstance(value, int) and value > 0 else otherwise

    n = number(f"{_ROLLOUT}.n", VERL_DEFAULTS[f"{_ROLLOUT}.n"])
    batch = number("data.train_batch_size", VERL_DEFAULTS["data.train_batch_size"])
    mini = number("actor_rollout_ref.actor.ppo_mini_batch_size", MINI_BATCH)
    critic = number("critic.ppo_mini_batch_size", mini)
    return batch * n // ranks, mini * n // ranks, critic * n // ranks


def in_one_pass(rows: int) -> int:
    """The most rows in one pass of which there are whole passes, as verl wants it."""
    return next(size for size in range(MOST_ROWS, 0, -1) if rows % size == 0)


def cpu_settings(*, threads: int, ranks: int, given: Mapping[str, Any]) -> Profile:
    """verl on a CPU.

    Args:
        threads: CPU threads that the stage may use.
        ranks: training processes, over which the model is sharded.
        given: the recipe's own keys.
    """
    profile = Profile()
    default, force = profile.default, profile.force
    bf16 = multiplies_bf16()
    precision = "the CPU multiplies bfloat16" if bf16 else "the CPU has no bfloat16 arithmetic"

    force("trainer.device", "cpu", "ranks run on the CPU")
    force("trainer.nnodes", 1, "one machine")
    force("trainer.n_gpus_per_node", ranks, "ranks; verl counts them as GPUs")
    force("ray_kwargs.ray_init.num_gpus", ranks, "verl asks Ray for a GPU a rank")
    force("ray_kwargs.ray_init.num_cpus", 16 + 2 * ranks, "what Ray may schedule; most of it waits")

    force(f"{_ROLLOUT}.name", ROLLOUT, "transformers generates, in batches")
    for split in ("tensor", "pipeline"):
        force(f"{_ROLLOUT}.{split}_model_parallel_size", 1, "this rollout does not split a model")
    force(f"{_ROLLOUT}.data_parallel_size", 1, "each rank has a server of its own")
    default(f"{_ROLLOUT}.dtype", "bfloat16" if bf16 else "float32", precision)
    force(f"{_ROLLOUT}.agent.num_workers", 1, "one process asks; it mostly waits")
    force("reward.num_workers", 1, "a process more costs seconds of start-up")
    default("data.dataloader_num_workers", 0, "questions are small; a process more costs seconds")
    force("transfer_queue.backend.SimpleStorage.num_data_storage_units", 1, "one machine")
    if "lora" in str(sorted(given)):
        force(f"{_MODEL}.lora.merge", True, "the rollout takes whole weights")

    for model in (_MODEL, "critic.model"):
        force(f"{model}.use_remove_padding", False, "packing needs flash attention, which needs a GPU")
        force(f"{model}.override_config.attn_implementation", "sdpa", "flash attention needs a GPU")
        default(f"{model}.enable_gradient_checkpointing", False, "main memory holds the activations")
    step, mini, critic_mini = rows_of_a_rank(given, ranks)
    for role, key, rows in (
        ("actor_rollout_ref.actor", "ppo_micro_batch_size_per_gpu", mini),
        ("actor_rollout_ref.ref", "log_prob_micro_batch_size_per_gpu", step),
        ("critic", "ppo_micro_batch_size_per_gpu", critic_mini),
    ):
        engine = "critic.fsdp" if role == "critic" else f"{role}.fsdp_config"
        default(f"{role}.{key}", in_one_pass(rows), "rows in one pass")
        force(f"{role}.strategy", "fsdp2", "FSDP 1 wants its parameters on a GPU")
        default(f"{engine}.model_dtype", "fp32", "weights are float32 whatever computes")
        default(f"{engine}.mixed_precision.param_dtype", "bf16" if bf16 else "fp32", precision)
        default(f"{engine}.mixed_precision.reduce_dtype", "fp32", "gradients add up in float32")
        default(f"{engine}.reshard_after_forward", False, "weights are gathered once a pass, not twice")
        force(f"{engine}.use_torch_compile", False, "compiling needs a compiler and takes minutes")
        force(f"{engine}.param_offload", False, "everything is in main memory")
        if role != "actor_rollout_ref.ref":
            force(f"{engine}.optimizer_offload", False, "everything is in main memory")
    default(f"{_ROLLOUT}.log_prob_micro_batch_size_per_gpu", in_one_pass(step), "rows in one pass")

    profile.notes.append(
        f"verl runs on the CPU: FSDP2, {'bfloat16 over float32 weights' if bf16 else 'float32'}, "
        f"rollouts by transformers, {ranks} rank(s), {threads} threads"
    )
    return profile


def cpu_env(*, threads: int, ranks: int) -> dict[str, str]:
    """The environment of every process of verl on a CPU; Ray hands it on from verl's driver.

    Ray gives an actor one OpenMP thread unless the environment says otherwise. Rollout and training
    take turns, so that both may use all threads of their rank.
    """
    each = str(max(1, threads // ranks))
    return {
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": PLUGIN,
        "OMP_NUM_THREADS": each,
        "MKL_NUM_THREADS": each,
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin take the time of those that work
        "TQ_NUM_THREADS": each,  # the queue's own 8 earn a warning a message where there are fewer
        # Ray wants one entry a rank; CUDA sees no device behind -1.
        "CUDA_VISIBLE_DEVICES": ",".join(["-1"] * ranks),
    }


def lacks_flash_attention() -> bool:
    """Whether this machine has GPUs and its environment no flash-attn package.

    Where there is no GPU the recipe is for another machine, of which nothing is known.
    """
    present = any(re.fullmatch(r"nvidia\d+", path.name) for path in Path("/dev").glob("nvidia*"))
    return present and importlib.util.find_spec("flash_attn") is None


def without_flash(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The models of verl's tree that want flash attention where there is none."""
    if not lacks_flash_attention():
        return ()
    key = "override_config.attn_implementation"
    models = (_MODEL, "critic.model")
    return tuple(m for m in models if given.get(f"{m}.{key}") in (None, "flash_attention_2"))


def gpu_settings(*, gpus: int, given: Mapping[str, Any]) -> Profile:
    """verl as it is; the recipe says which rollout engine and how it is split.

    verl asks for flash attention and packs rows by it. Where the flash-attn package is missing,
    PyTorch's own fused attention works on padded rows: the same figures, more time and memory.
    """
    profile = Profile()
    profile.default("trainer.n_gpus_per_node", gpus, "the GPUs of this stage")
    profile.default("trainer.nnodes", 1, "one machine")
    padded = without_flash(given)
    for model in padded:
        profile.force(f"{model}.override_config.attn_implementation", "sdpa", NO_FLASH)
        profile.force(f"{model}.use_remove_padding", False, NO_FLASH)
    if padded:
        profile.notes.append(
            "the package flash-attn is not installed: attention by PyTorch on padded rows, which is slower"
        )
    if given.get(f"{_ROLLOUT}.name") == ROLLOUT:
        profile.force(f"{_ROLLOUT}.tensor_model_parallel_size", 1, "this rollout does not split a model")
        if "lora" in str(sorted(given)):
            profile.force(f"{_MODEL}.lora.merge", True, "the rollout takes whole weights")
        profile.notes.append("rollouts by transformers on the GPU: vLLM or SGLang are several times faster")
    return profile


def gpu_env(*, given: Mapping[str, Any]) -> dict[str, str]:
    """The environment of every process of verl on GPUs."""
    modules = [ROLLOUT_PLUGIN] if given.get(f"{_ROLLOUT}.name") == ROLLOUT else []
    if "critic.model" in without_flash(given):
        modules.append(CRITIC_PLUGIN)
    return {"VERL_USE_EXTERNAL_MODULES": ",".join(modules)} if modules else {}
