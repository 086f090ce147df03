"""Where things lie: the models that a recipe names, and what is in a stage's folder."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.places import absolute as absolute
from residency.engines.places import find as find
from residency.engines.places import roots as roots

DATA = "data"
"""The prompts in verl's form: train.parquet, val.parquet."""
TRAIN, VALIDATION = f"{DATA}/train.parquet", f"{DATA}/val.parquet"
CONFIG = "verl.yaml"
"""verl's configuration, whole but for verl's own defaults."""
CHECKPOINTS = "checkpoints"
"""verl's checkpoints, `global_step_N` each."""
LOGGED = "logged"
"""What verl logs, one JSON Lines file an attempt: 1.jsonl, 2.jsonl."""
GOLD = "gold.json"
"""What the gold check found."""
REWARDS = "rewards.json"
"""The reward's components, as the reward workers read them."""
ROLLOUTS = "rollouts.jsonl"
"""Sampled rollouts with the components of their rewards."""
FIGURES = "figures.json"
"""In a checkpoint: its step's row as verl logs it afterwards."""
PHASE = "phase.json"
"""What the stage's command is doing."""

LONGEST_HOME, SHORT_HOME = 12, Path("/tmp")

MODEL = "actor_rollout_ref.model.path"
PATH_KEYS = (
    MODEL,
    "actor_rollout_ref.model.tokenizer_path",
    "actor_rollout_ref.model.hf_config_path",
    "actor_rollout_ref.model.lora_adapter_path",
    "actor_rollout_ref.ref.model.path",
    "critic.model.path",
    "critic.model.tokenizer_path",
    "reward.reward_model.model_path",
    "trainer.resume_from_path",
)
"""Keys whose value is a path or, for models, a hub name."""
_ROLLOUT = "actor_rollout_ref.rollout"
FILE_KEYS = (
    f"{_ROLLOUT}.multi_turn.tool_config_path",
    f"{_ROLLOUT}.multi_turn.function_tool_path",
    f"{_ROLLOUT}.agent.agent_loop_config_path",
    f"{_ROLLOUT}.agent.custom_async_server.path",
    "data.custom_cls.path",
    "trainer.v1.sampler.custom_sampler.path",
)
"""Keys whose value is a file that verl reads, or a module as `pkg://NAME`. Its processes run elsewhere."""


def ray_folder(folder: Path) -> Path:
    """Ray's folder for a stage: one of its own, and with a name so short that sockets fit below it.

    A socket's path may have 107 bytes, of which Ray takes some 80.
    """
    name = f"ray-{hashlib.blake2b(str(folder).encode(), digest_size=5).hexdigest()}"
    home = Path(tempfile.gettempdir())
    return (home if len(os.fsencode(home)) <= LONGEST_HOME or not SHORT_HOME.is_dir() else SHORT_HOME) / name


def named(flat: Mapping[str, Any], key: str) -> str | None:
    """The text under a key, or None."""
    value = flat.get(key)
    return value if isinstance(value, str) and value else None
