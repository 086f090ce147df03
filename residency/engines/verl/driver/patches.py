"""The few places where verl 0.9.1 takes an accelerator for granted, and what they become on a CPU.

Each is a function of the module that it changes, run when verl imports that module. Everything
else that a CPU needs is a setting of verl's own (`residency.engines.verl.hardware`) or a
registered class (the platform, the engine, the rollout).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

POLL_SECONDS = 0.05
"""Between two looks at the replay buffer; a look is one call to a local actor (about 1 ms)."""


def plain_gloo(distributed: ModuleType) -> None:
    """Ask torch for `gloo`.

    verl builds `cpu:gloo,DEVICE:BACKEND`, here `cpu:gloo,cpu:gloo`, which torch rejects.
    """
    original = distributed.initialize_global_process_group_ray

    def initialize(timeout_second: int | None = None, backend: str | None = None) -> None:
        original(timeout_second, backend or "gloo")

    distributed.initialize_global_process_group_ray = initialize


def no_offload(fsdp_utils: ModuleType) -> None:
    """Leave the frozen reference model where it is.

    verl offloads it to pinned host memory; it is in host memory already, and pinning needs an
    accelerator.
    """
    fsdp_utils.CPUOffloadPolicy = lambda pin_memory=True: None


def critic_without_flash_attention(model: ModuleType) -> None:
    """Load a critic with the attention that the recipe asks for.

    verl writes `flash_attention_2` into the call, whatever `override_config` says.
    """

    def load_valuehead_model(
        local_path: str, torch_dtype: Any, model_config: Any, trust_remote_code: bool
    ) -> Any:
        from transformers import AutoModelForTokenClassification

        wanted = getattr(model_config, "_attn_implementation", None)
        return AutoModelForTokenClassification.from_pretrained(
            local_path,
            dtype=torch_dtype,
            config=model_config,
            attn_implementation=wanted if wanted in ("sdpa", "eager") else "sdpa",
            trust_remote_code=trust_remote_code,
        )

    model.load_valuehead_model = load_valuehead_model


def prompt_replay(replay_buffer: ModuleType) -> None:
    """Look for finished rollouts every 50 ms.

    verl looks every 2 s and has no setting for it: next to a training step of minutes that is
    nothing, next to one of seconds it is up to half of it.
    """
    original = replay_buffer.ReplayBuffer.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("poll_interval", POLL_SECONDS)
        original(self, *args, **kwargs)

    replay_buffer.ReplayBuffer.__init__ = __init__


def cpu_engines(transformer_impl: ModuleType) -> None:
    """Register the engines for device `cpu`; verl registers its own for cuda and npu alone."""
    from residency.engines.verl.driver import engine

    engine.register(transformer_impl)


ON_A_CPU: Mapping[str, Callable[[ModuleType], None]] = {
    "verl.utils.distributed": plain_gloo,
    "verl.utils.fsdp_utils": no_offload,
    "verl.utils.model": critic_without_flash_attention,
    "verl.trainer.ppo.v1.replay_buffer": prompt_replay,
    "verl.workers.engine.fsdp.transformer_impl": cpu_engines,
}
"""Module → its change."""
