"""Reinforcement learning with verifiable rewards on verl: GRPO, PPO, RLOO, REINFORCE++, HRPO.

Takes a model, prompts with ground truths, and reward functions; leaves `model`, a Hugging Face
checkpoint, and `rollouts`, sampled answers with the components of their rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.verl import places, tree
from residency.engines.verl.engine import ENGINE
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_probe import Answer
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.stages._rows import located
from residency.stages.base import Inputs, Output, Rows, StageKind

# Keys that change what is reported, kept or how fast it goes, and not the weights.
NO_EFFECT = (
    "trainer.logger",
    "trainer.project_name",
    "trainer.experiment_name",
    "trainer.save_freq",
    "trainer.max_actor_ckpt_to_keep",
    "trainer.max_critic_ckpt_to_keep",
    "trainer.log_val_generations",
    "trainer.rollout_data_dir",
    "trainer.validation_data_dir",
    "ray_kwargs",
)


class Rlvr(StageKind):
    """`kind: rlvr`."""

    name: ClassVar[str] = "rlvr"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """The rules of rewards and tools; those of verl's own keys the engine knows."""
        from residency.rewards import check

        check.check(recipe, found)

    def check_functions(self, recipe: Recipe, answers: Mapping[str, Answer], found: Diagnostics) -> None:
        """Whether it is known what a right answer scores."""
        from residency.rewards import check

        check.check_functions(recipe, answers, found)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """verl."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`model` and `rollouts`."""
        return {"model": Output("model", "model"), "rollouts": Output(places.ROLLOUTS, "file")}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The models and data files on this disk, the source of the rewards and tools."""
        from residency.engines.verl import datasets

        starts = places.roots(recipe_folder, project)
        flat = tree.values(config.get("verl") or {})
        files: list[Path] = []
        ignore = ["resources.cpus", "checkpoints", "rollouts", *(f"verl.{key}" for key in NO_EFFECT)]
        versions: dict[str, str] = {}
        for key in places.PATH_KEYS:
            value = places.named(flat, key)
            path = places.find(value, starts) if value and TOKEN_OPEN not in value else None
            if path:
                # What lies there counts, not how the way to it is written.
                files.append(path)
                ignore.append(f"verl.{key}")
                versions[key] = "on this disk"
        files += datasets.files(config, recipe_folder, project)
        named = [item.get("fn") for item in config.get("rewards") or []]
        functions = [name for name in (*named, *(config.get("tools") or [])) if isinstance(name, str)]
        return Inputs(
            files=tuple(dict.fromkeys(files)),
            functions=tuple(dict.fromkeys(functions)),
            ignore=tuple(ignore),
            versions=versions,
        )

    def rows(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Rows:
        """The prompts that it trains on, and with them their ground truths."""
        from residency.engines.verl import datasets

        return located(datasets.asked(config, "dataset"), recipe_folder, project)


KIND = Rlvr()
