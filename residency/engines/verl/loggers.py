"""The loggers that a run can use: one without its package or key is left out, and the run goes on."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence

ALWAYS = ("console", "file")
"""`console` is what log.txt holds, `file` is what the live view and metrics.jsonl are read from."""
KEYS = {"wandb": "WANDB_API_KEY", "swanlab": "SWANLAB_API_KEY"}
PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb", "swanlab": "swanlab", "mlflow": "mlflow"}
PLACES = ("MLFLOW_TRACKING_URI", "SWANLAB_LOG_DIR", "TENSORBOARD_DIR", "WANDB_DIR")
"""Variables that say where they write."""
OFFLINE = {"WANDB_MODE": ("offline", "disabled"), "SWANLAB_MODE": ("local", "offline", "disabled")}


def usable(asked: Sequence[str], env: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The loggers to use, and a note for each that is left out.

    Args:
        asked: `verl.trainer.logger`.
        env: What the recipe's `env:` adds to the environment (secrets by name).
    """
    chosen, notes = list(ALWAYS), []
    for name in dict.fromkeys(asked):
        if name in chosen:
            continue
        package, key = PACKAGES.get(name), KEYS.get(name)
        if package and importlib.util.find_spec(package) is None:
            notes.append(f"logging to {name} is off: the Python package {package} is not installed")
        elif key and not _given(key, env) and not _offline(name, env):
            notes.append(f"logging to {name} is off: {key} is not set")
        else:
            chosen.append(name)
    return chosen, notes


def _given(variable: str, env: Mapping[str, str]) -> bool:
    return bool(env.get(variable) or os.environ.get(variable))


def _offline(name: str, env: Mapping[str, str]) -> bool:
    variable = f"{name.upper()}_MODE"
    return (env.get(variable) or os.environ.get(variable)) in OFFLINE.get(variable, ())
