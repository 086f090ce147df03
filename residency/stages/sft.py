"""Training with LLaMA-Factory: supervised fine-tuning, pre-training, reward models, DPO, KTO.

Takes a model and datasets; leaves `adapter` for LoRA and OFT, else `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.llamafactory import datasets, places
from residency.engines.llamafactory.engine import ENGINE
from residency.errors import RecipeInvalid
from residency.files import sha256_value
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.stages.base import Inputs, Output, Rows, StageKind

BLOCK = "llamafactory"

# Keys that change what is reported, kept or how fast it goes, and not the weights.
NO_EFFECT = (
    "output_dir",
    "overwrite_output_dir",
    "overwrite_cache",
    "logging_steps",
    "logging_strategy",
    "logging_first_step",
    "logging_dir",
    "log_level",
    "log_level_replica",
    "log_on_each_node",
    "logging_nan_inf_filter",
    "report_to",
    "run_name",
    "project",
    "plot_loss",
    "disable_tqdm",
    "save_total_limit",
    "preprocessing_num_workers",
    "preprocessing_batch_size",
    "dataloader_num_workers",
    "dataloader_prefetch_factor",
    "dataloader_pin_memory",
    "dataloader_persistent_workers",
    "ddp_timeout",
    "cache_dir",
    "print_param_status",
    "include_num_input_tokens_seen",
    "include_tokens_per_second",
    "include_effective_tokens_per_second",
    "swanlab_project",
    "swanlab_run_name",
    "use_swanlab",
)


class Sft(StageKind):
    """`kind: sft`."""

    name: ClassVar[str] = "sft"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """A training stage trains. What else can be wrong with its block, the engine says."""
        block = recipe.tree.get(BLOCK)
        if not isinstance(block, Tree):
            return  # said by the schema
        train = block.get("do_train")
        if train is not None and getattr(train, "value", None) is False:
            found.add(
                "trains-nothing",
                "`do_train: false` trains nothing",
                train,
                hint="remove it; to measure a model use `kind: evaluate`",
            )

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """LLaMA-Factory."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`adapter` for LoRA and OFT, `model` for full and freeze training."""
        name = "adapter" if places.trains_adapter(config) else "model"
        return {name: Output(name, name)}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The model and adapters on this disk, the data files, the DeepSpeed configuration."""
        block = places.block(config)
        starts = places.roots(config, recipe_folder, project)
        files: list[Path] = []
        ignore = ["resources.cpus", *(f"{BLOCK}.{key}" for key in NO_EFFECT)]
        versions: dict[str, str] = {}
        for key in places.PATH_KEYS:
            if key in ("cache_dir", "media_dir"):
                continue
            named = places.names(block.get(key))
            there = [path for name in named if (path := _there(name, starts))]
            files += there
            if named and len(there) == len(named):
                # What lies there counts, not how the way to it is written.
                ignore.append(f"{BLOCK}.{key}")
                versions[key] = "on this disk"
        for key in ("deepspeed", "resume_from_checkpoint"):
            if isinstance(block.get(key), str):
                path = _deepspeed(block[key]) if key == "deepspeed" else None
                path = path or _there(block[key], starts)
                files += [path] if path else []
        chosen = _data(config, recipe_folder, project)
        versions |= {f"dataset_info.{name}": _entry(entry) for name, entry in chosen.info.items()}
        if not chosen.online:
            ignore.append(f"{BLOCK}.dataset_dir")
        for key in ("dataset", "eval_dataset"):
            named = datasets.asked(config, key)
            if named and not any(TOKEN_OPEN in name for name in named):
                # The same at the recipe's top, in the block, as a list, or with commas.
                ignore += [key, f"{BLOCK}.{key}"]
                versions[key] = ", ".join(named)
        return Inputs(
            files=tuple(dict.fromkeys([*files, *chosen.files])),
            ignore=tuple(ignore),
            versions=versions,
        )

    def rows(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Rows:
        """The files of `dataset`; those of the hub cannot be looked at."""
        named = datasets.asked(config, "dataset")
        tokens = [name for name in named if TOKEN_OPEN in name]
        chosen = _data(config, recipe_folder, project)
        places_of = {name: str(entry.get("file_name") or "") for name, entry in chosen.info.items()}
        files = [places_of.get(name, "") for name in named if name not in tokens]
        there = [path for path in files if Path(path).is_absolute()]
        away = [
            name for name in named if name not in tokens and not Path(places_of.get(name, "")).is_absolute()
        ]
        return Rows(
            training=tuple(dict.fromkeys([*tokens, *there])),
            elsewhere=tuple(f"the dataset {name}, which is not on this disk" for name in away),
        )


def _data(config: Mapping[str, Any], recipe_folder: Path, project: Path) -> datasets.Selected:
    """The datasets from a registry; an output of another stage is covered by that stage's own key."""
    fixed = {**config, BLOCK: places.block(config)}
    for where in (fixed, fixed[BLOCK]):
        for key in ("dataset", "eval_dataset"):
            if key in where:
                where[key] = [name for name in places.names(where[key]) if TOKEN_OPEN not in name]
    try:
        return datasets.select(fixed, recipe_folder, project, {})
    except RecipeInvalid:
        return datasets.Selected()  # said by the check


def _entry(entry: Mapping[str, Any]) -> str:
    """A dataset's entry as it counts: how its file is read, not where that lies."""
    return sha256_value({key: value for key, value in entry.items() if key != "file_name"})[:16]


def _there(name: str, starts: tuple[Path, ...]) -> Path | None:
    return None if TOKEN_OPEN in name else places.find(name, starts)


def _deepspeed(name: str) -> Path | None:
    from residency.engines.llamafactory.settings import DEEPSPEED

    path = DEEPSPEED / f"{name}.json"
    return path if path.is_file() else None


KIND = Sft()
