"""What makes a resumed training repeat to the last bit what an undisturbed one does.

verl names prompts at random, takes rollouts in the order in which they end, and forgets the adaptive
KL coefficient. The names here follow from step and place, a step's rollouts stand in the order of
their prompts, and what verl's checkpoint leaves out is kept beside it. With several ranks rounding
may still differ, since which server answers which request depends on time; so it may on GPUs, whose
rollout engines batch as requests come.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from residency.engines.verl.hardware import ROLLOUT
from residency.files import read_json, write_json

STATE = "trainer.json"
"""In a checkpoint: what the trainer itself knows."""


def uids(step: int, first: int, count: int) -> list[str]:
    """Names of a step's prompts, which sort as they come; verl allows no underscore."""
    return [f"{step:08d}-{first + i:06d}" for i in range(count)]


def rename(batch: Any, names: list[str]) -> None:
    """Give the prompts of a batch these names."""
    from verl.utils import tensordict_utils as tu

    tu.assign_non_tensor(batch, uid=names)


def place(key: str) -> tuple[str, int, int]:
    """Where a rollout stands among those of its step, from its key `prompt_session_turn`."""
    uid, _, rest = key.partition("_")
    session, _, part = rest.partition("_")
    return uid, int(session or 0), int(part or 0)


def order(keys: list[str]) -> list[int]:
    """The positions of a step's rollouts, in the order of their prompts."""
    return sorted(range(len(keys)), key=lambda i: place(keys[i]))


def save(trainer: Any, folder: Path) -> None:
    """Keep what verl's own checkpoint leaves out."""
    control = getattr(trainer, "kl_ctrl_in_reward", None)
    write_json(folder / STATE, {"kl_coefficient": None if control is None else float(control.value)})


def load(trainer: Any, folder: Path) -> None:
    """Take it up again; a checkpoint that was not written by us has none."""
    kept = read_json(folder / STATE) or {}
    control = getattr(trainer, "kl_ctrl_in_reward", None)
    if control is not None and kept.get("kl_coefficient") is not None:
        control.value = kept["kl_coefficient"]


def announced(trainer: Any, generate: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """verl's `generate_sequences`, which first tells our rollout servers how many requests will come."""
    rollout = trainer.config.actor_rollout_ref.rollout
    if rollout.name != ROLLOUT:
        return generate
    import ray

    servers = trainer.llm_server_manager.server_handles

    def call(batch: Any) -> Any:
        n = rollout.val_kwargs.n if "validate" in batch.keys() else rollout.n  # noqa: SIM118
        ray.get([server.announce.remote(len(batch) * int(n) // len(servers)) for server in servers])
        return generate(batch)

    return call
