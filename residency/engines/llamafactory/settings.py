"""The `train.yaml` of a stage: the recipe's block as it is, and the keys that are ours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from residency.engines.base import Job
from residency.engines.llamafactory import datasets, places
from residency.errors import RecipeInvalid

DEEPSPEED = Path(__file__).parent / "deepspeed"
"""The DeepSpeed configurations that a recipe may call by name: `zero3`."""
CHECKPOINTS = 10
"""Checkpoints over a training of known length, when the recipe does not say."""


@dataclass(slots=True)
class Settings:
    """What LLaMA-Factory reads."""

    values: dict[str, Any]
    """The keys of train.yaml."""
    files: dict[str, str] = field(default_factory=dict)
    """Further files of the stage's folder."""
    notes: list[str] = field(default_factory=list)
    offline: bool = True
    """Nothing has to be fetched from a hub."""

    def text(self) -> str:
        """train.yaml."""
        notes = "".join(f"# {note}\n" for note in self.notes)
        return notes + to_yaml(self.values)


def build(job: Job) -> Settings:
    """The settings of a stage.

    Raises:
        RecipeInvalid: a dataset or a DeepSpeed configuration is not there.
    """
    given = places.block(job.config)
    starts = places.roots(job.config, job.recipe_folder, job.project)
    made = Settings(dict(given))
    _paths(made, starts)
    _data(made, job)
    _deepspeed(made, job, starts)
    _defaults(made, given, job)
    made.values["output_dir"] = str(job.folder / places.TRAINING)
    if "resume_from_checkpoint" in given:
        del made.values["resume_from_checkpoint"]
        if isinstance(given["resume_from_checkpoint"], str):
            made.notes.append("resume_from_checkpoint: the checkpoint is copied into the training folder")
        elif given["resume_from_checkpoint"] is not None:
            made.notes.append("resume_from_checkpoint is not used: an interrupted stage always goes on")
    # Each stage trains in a folder of its own; what to do with `output_dir` is publish.py's matter.
    made.values.pop("overwrite_output_dir", None)
    if not resumable(given):
        # LLaMA-Factory would refuse, or go on wrongly from, what an earlier attempt left.
        made.values["overwrite_output_dir"] = True
    return made


def resumable(given: Mapping[str, Any]) -> bool:
    """False where an interrupted training can only start from nothing."""
    if given.get("stage") == "rm":  # a value head is not part of what the trainer restores
        return False
    return not given.get("save_only_model") and str(given.get("save_strategy", "steps")) != "no"


def processes(job: Job) -> int:
    """Training processes on this machine: one a GPU, else what `env: {NPROC_PER_NODE: 2}` says, or one."""
    asked = (job.config.get("env") or {}).get("NPROC_PER_NODE")
    if asked is not None and str(asked).isdigit():
        return int(asked)
    return max(1, job.gpus)


def _paths(made: Settings, starts: tuple[Path, ...]) -> None:
    for key in places.PATH_KEYS:
        value = made.values.get(key)
        if key in places.LISTS and value:
            made.values[key] = ",".join(places.absolute(name, starts) for name in places.names(value))
        elif isinstance(value, str):
            made.values[key] = places.absolute(value, starts)
            if key in ("tokenized_path", "cache_dir") and not Path(value).is_absolute():
                made.values[key] = str((starts[0] / value).absolute())
    model = made.values.get("model_name_or_path")
    made.offline = isinstance(model, str) and Path(model).is_absolute()
    for key in ("adapter_name_or_path", "ref_model", "reward_model"):
        named = places.names(made.values.get(key))
        made.offline = made.offline and all(Path(name).is_absolute() for name in named)


def _data(made: Settings, job: Job) -> None:
    chosen = datasets.select(job.config, job.recipe_folder, job.project, job.datasets)
    for key, named in (("dataset", chosen.train), ("eval_dataset", chosen.eval)):
        made.values.pop(key, None)
        if named:
            made.values[key] = ",".join(named)
    made.offline = made.offline and chosen.local
    if chosen.online:
        made.values["dataset_dir"] = chosen.online
        return
    made.values["dataset_dir"] = str(job.folder)
    made.files[datasets.REGISTRY] = json.dumps(chosen.info, indent=2, ensure_ascii=False) + "\n"
    if chosen.media and "media_dir" not in made.values:
        made.values["media_dir"] = str(chosen.media)


def _deepspeed(made: Settings, job: Job, starts: tuple[Path, ...]) -> None:
    """Copy the DeepSpeed configuration into the stage's folder, its batch sizes filled in.

    ZeRO-3 builds the model before the trainer replaces "auto", and fails on it; so the values
    that this recipe gives stand in the copy.
    """
    value = made.values.get("deepspeed")
    if value is None:
        return
    if isinstance(value, str):
        own = DEEPSPEED / f"{value}.json"
        path = own if own.is_file() else places.find(value, starts)
        if path is None:
            known = ", ".join(sorted(p.stem for p in DEEPSPEED.glob("*.json")))
            raise RecipeInvalid(f"the DeepSpeed configuration {value} is not there", f"by name: {known}")
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RecipeInvalid(f"{path} is no DeepSpeed configuration: {error}") from error
    config = dict(value)
    filled = {
        "train_micro_batch_size_per_gpu": made.values.get("per_device_train_batch_size", 8),
        "gradient_accumulation_steps": made.values.get("gradient_accumulation_steps", 1),
    }
    for key, number in filled.items():
        if config.get(key, "auto") == "auto":
            config[key] = number
    if config.get("train_batch_size") == "auto":
        # DeepSpeed multiplies it out itself. Filled in by the trainer, it fails ZeRO-3 on a CPU: when
        # the model is built there, DeepSpeed does not know of the other processes yet.
        del config["train_batch_size"]
    made.files["deepspeed.json"] = json.dumps(config, indent=2) + "\n"
    made.values["deepspeed"] = str(job.folder / "deepspeed.json")


def _defaults(made: Settings, given: Mapping[str, Any], job: Job) -> None:
    values = made.values
    for key, value in {"stage": "sft", "finetuning_type": "lora", "do_train": True, "seed": 42}.items():
        values.setdefault(key, value)
    values.setdefault("report_to", "none")
    if job.gpus == 0:
        values["use_cpu"] = True
    if processes(job) > 1:
        # Rank 0 tokenises while the others wait; the default of 30 minutes is too short for that.
        values.setdefault("ddp_timeout", 180_000_000)
    steps = given.get("max_steps")
    steps = steps if isinstance(steps, int) and steps > 0 else None
    if "logging_steps" not in given and "logging_strategy" not in given:
        values["logging_steps"] = max(1, min(10, (steps or 1000) // 100))
        if steps is None:
            values.setdefault("logging_first_step", True)  # lest a short training logs nothing
    _saving(made, given, steps)


def _saving(made: Settings, given: Mapping[str, Any], steps: int | None) -> None:
    """Checkpoints often enough that an interruption costs little, and never the disk."""
    if given.get("save_only_model"):
        made.notes.append("save_only_model: an interrupted training starts from nothing")
    elif str(given.get("save_strategy", "steps")) == "no":
        made.notes.append("save_strategy is no: an interrupted training starts from nothing")
    if "save_steps" in given or "save_strategy" in given:
        return
    if given.get("load_best_model_at_end") and given.get("eval_steps"):
        every = given["eval_steps"]  # must be a multiple of it
    else:
        every = min(500, math.ceil(steps / CHECKPOINTS)) if steps else 200
    made.values["save_steps"] = every
    made.values.setdefault("save_total_limit", 2)
    made.notes.append(f"save_steps: {every} was chosen, so that an interrupted training can go on")


# What OmegaConf, which reads train.yaml, takes for a number though YAML 1.1 does not: 1e-6.
_NUMBER = re.compile(r"[-+.\d_:]|(?i:inf|nan)")


class _Dumper(yaml.SafeDumper):
    """Quotes strings that could be read as something else."""


def _string(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = '"' if "\n" in value or _NUMBER.match(value) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _string)


def to_yaml(values: Mapping[str, Any]) -> str:
    """`values` as YAML that PyYAML and OmegaConf read alike."""
    text: str = yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )
    return text
