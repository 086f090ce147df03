"""The configuration that verl is started with: the recipe's own keys, what the hardware profile
sets, and what the launcher needs to follow, resume and verify the training.

The recipe's keys win over the profile's, but for those that cannot work on a CPU. The launcher's
own come last: files, checkpoints, loggers, the reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from residency.engines.base import Job
from residency.engines.verl import hardware, loggers, places, tools, tree

MANAGER = "pkg://residency.engines.verl.driver.bridge"
GROUPS = ("model_engine",)
"""Keys that choose among verl's configuration files, rather than set a value."""
RAY = "ray_kwargs.ray_init"
ENDLESS = 1_000_000
KEEP = 2


@dataclass(slots=True)
class Settings:
    """verl's configuration for a stage."""

    flat: dict[str, Any]
    """One entry a leaf."""
    hardware: str
    """`cpu` or `gpu`."""
    groups: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    ranks: int = 1
    removed: list[str] = field(default_factory=list)
    """Keys that the recipe takes out of verl's tree: `~key`."""
    told: tuple[str, ...] = ()
    """What the hardware profile sets, and why."""

    def text(self) -> str:
        """verl.yaml: Hydra lays it over verl's defaults."""
        above = [{f"override {name}": value} for name, value in self.groups.items()]
        whole = {
            "hydra": {
                "searchpath": ["pkg://verl.trainer.config"],
                "run": {"dir": "."},
                "output_subdir": None,
            },
            "defaults": ["ppo_trainer", *above, "_self_"],
            **tree.nest(self.flat),
        }
        return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


def build(job: Job) -> Settings:
    """The configuration of a stage. Touches nothing on disk."""
    config = job.config
    written = tree.settings(config.get("verl") or {})
    given = {name: setting.value for name, setting in written.items() if setting.prefix != "~"}
    groups = {name: given.pop(name) for name in GROUPS if name in given}
    kind = chosen_hardware(config, job.gpus)
    ranks = int(given.get("trainer.n_gpus_per_node") or (job.gpus if kind == "gpu" else 1) or 1)
    if kind == "cpu":
        profile = hardware.cpu_settings(threads=job.threads, ranks=ranks, given=given)
    else:
        profile = hardware.gpu_settings(gpus=job.gpus, given=given)
    notes, told = list(profile.notes), profile.told(given)
    starts = places.roots(job.recipe_folder, job.project)
    for key in (*places.PATH_KEYS, *places.FILE_KEYS):
        if (path := places.named(given, key)) is not None:
            given[key] = places.absolute(path, starts)
    flat = {**profile.defaults, **_defaults(job), **given, **profile.forced}
    if joins(flat):
        for name in ("num_cpus", "num_gpus"):  # a cluster has what it has
            flat.pop(f"{RAY}.{name}", None)
    flat.update(_own(job, flat))
    flat.update(tools.settings(config, job.folder))
    asked = given.get("trainer.logger") or []
    env = {str(name): str(value) for name, value in (config.get("env") or {}).items()}
    flat["trainer.logger"], said = loggers.usable([asked] if isinstance(asked, str) else asked, env)
    removed = [name for name, setting in written.items() if setting.prefix == "~"]
    return Settings(flat, kind, groups, notes + said, ranks, removed, told)


def joins(flat: Mapping[str, Any]) -> bool:
    """True when the recipe names a Ray cluster to join."""
    return names_a_cluster(flat.get(f"{RAY}.address"))


def names_a_cluster(address: Any) -> bool:
    """True for an address of Ray that is not that of one of our own."""
    return address not in (None, "", "local")


def kept(config: Mapping[str, Any]) -> int:
    """How many checkpoints are kept."""
    given = tree.values(config.get("verl") or {})
    asked = (config.get("checkpoints") or {}).get("max_keep") or given.get("trainer.max_actor_ckpt_to_keep")
    return int(asked or KEEP)


def chosen_hardware(config: Mapping[str, Any], gpus: int) -> str:
    """`cpu` or `gpu`: what the recipe says, else what the stage has."""
    asked = config.get("hardware") or "auto"
    return str(asked) if asked != "auto" else "gpu" if gpus else "cpu"


def _defaults(job: Job) -> dict[str, Any]:
    """What holds unless the recipe says otherwise."""
    config = job.config
    given = tree.values(config.get("verl") or {})
    steps = given.get("trainer.total_training_steps")
    evaluates = bool(config.get("eval_dataset")) or "data.val_files" in given
    found: dict[str, Any] = {
        "data.seed": 1,
        "data.dataloader_num_workers": 0,
        "trainer.project_name": str(config.get("name") or job.name),
        "trainer.experiment_name": job.name,
        "trainer.val_before_train": evaluates,
        "trainer.save_freq": max(1, steps // 10) if isinstance(steps, int) else 10,
    }
    if steps is not None:
        # verl stops at whichever comes first; its 30 epochs may be fewer steps than were asked for.
        found["trainer.total_epochs"] = ENDLESS
    return found


def _own(job: Job, flat: Mapping[str, Any]) -> dict[str, Any]:
    """What the launcher sets whatever the recipe says; `check` refuses the keys that it would hide."""
    config, folder = job.config, job.folder
    saved = config.get("checkpoints") or {}
    found: dict[str, Any] = {
        "data.train_files": [str(folder / places.TRAIN)],
        "data.val_files": [str(folder / places.VALIDATION)],
        "data.prompt_key": "prompt",
        "data.return_raw_chat": True,
        "data.filter_overlong_prompts": False,  # done before verl is started, and counted
        "data.truncation": "error",
        "trainer.default_local_dir": str(folder / places.CHECKPOINTS),
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "Rewards",
        "reward.reward_manager.module.path": MANAGER,
    }
    if not (config.get("eval_dataset") or "data.val_files" in tree.values(config.get("verl") or {})):
        found |= {"trainer.test_freq": -1, "trainer.val_before_train": False}
    if "every" in saved:
        found["trainer.save_freq"] = saved["every"]
    elif flat.get("trainer.save_freq", -1) in (-1, 0, None):
        found["trainer.save_freq"] = ENDLESS  # the last step is always saved: it is the result
    # Older ones are removed once the new one is whole; verl would do it before.
    found |= {"trainer.max_actor_ckpt_to_keep": None, "trainer.max_critic_ckpt_to_keep": None}
    if flat.get("trainer.resume_mode") != "resume_path":
        found["trainer.resume_mode"] = "auto"
    if not joins(flat):
        # Without it Ray joins whatever cluster it finds on this machine.
        ray = places.ray_folder(Path(folder))
        found |= {f"{RAY}.address": "local", f"{RAY}._temp_dir": str(ray)}
        found |= {f"{RAY}.include_dashboard": bool(flat.get(f"{RAY}.include_dashboard"))}
    return found
