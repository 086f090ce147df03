"""verl as an engine of the launcher.

A stage's folder holds `stage.yaml`, which the stage's command reads, `verl.yaml`, verl's whole
configuration, `data/`, the prompts in verl's form, `checkpoints/`, and `outputs/model`, the last
checkpoint merged. See main.py for what the command does, and driver/ for what runs inside verl.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency.engines import hf_folder
from residency.engines.base import CheckContext, Engine, Job, Launch, MemoryEstimate, Progress, Verified
from residency.engines.verl import (
    checkpoints,
    failures,
    figures,
    finish,
    hardware,
    history,
    loggers,
    places,
    settings,
    tools,
    training,
    tree,
)
from residency.errors import StageFailed
from residency.files import read_json
from residency.paths import PROJECT
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe

STALL = 3600.0
"""Seconds of silence after which a training counts as hung: a lost weight sync says nothing."""
PLUGIN = "residency.engines.verl.driver.platform"


class Verl(Engine):
    """Drives verl's PPO trainer, which does all of the algorithms."""

    name: ClassVar[str] = "verl"
    distribution: ClassVar[str] = "verl"
    exits_as_launcher: ClassVar[bool] = True

    def gpus(self, config: Mapping[str, Any], there: int) -> int | None:
        """What `hardware` says, and on one machine `trainer.n_gpus_per_node`.

        verl would wait for GPUs that are not there; with `hardware: gpu` the executor says so.
        """
        chosen = config.get("hardware")
        if chosen == "cpu":
            return 0
        if chosen == "gpu":
            there = max(1, there)
        given = tree.values(config["verl"]) if isinstance(config.get("verl"), Mapping) else {}
        count, nodes = given.get("trainer.n_gpus_per_node"), given.get("trainer.nnodes")
        if there and isinstance(count, int) and nodes in (None, 1):
            return count
        return there if chosen == "gpu" else None

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """The rules that verl's schema cannot say."""
        from residency.engines.verl import rules

        rules.check(recipe, context, found)

    def prepare(self, job: Job) -> Launch:
        """stage.yaml and verl.yaml, and the command that reads them."""
        made = settings.build(job)
        env = self._environment(job, made)
        text = yaml.safe_dump(self._stage(job, made, env), sort_keys=False, allow_unicode=True)
        return Launch(
            argv=(sys.executable, "-m", "residency.engines.verl.main", "stage.yaml"),
            files={"stage.yaml": text, places.CONFIG: made.text(), **tools.files(job.config)},
            env=env,
            stall_seconds=float((job.config.get("watchdog") or {}).get("stall_seconds", STALL)),
            notes=tuple(made.notes),
            sets=made.told,
        )

    def _stage(self, job: Job, made: settings.Settings, env: Mapping[str, str]) -> dict[str, Any]:
        config, flat = dict(job.config), made.flat
        defaults = tree.defaults()
        saved = config.get("checkpoints") or {}
        mirror = saved.get("mirror")
        if mirror:
            mirror = str((job.recipe_folder / Path(mirror).expanduser() / job.folder.name).absolute())
        calls = dict(config.get("reward_calls") or {})
        rewards = {
            "rewards": [dict(item) for item in config["rewards"]],
            "reward_calls": calls,
            "stop_share": calls.get("stop_share", 0.25),
            "per_step": (config.get("rollouts") or {}).get("per_step", 4),
            "keep": settings.kept(config),
            "mirror": mirror,
            "max_response_length": flat.get("data.max_response_length", defaults["data.max_response_length"]),
            "num_iterations": (config.get("reference") or {}).get("num_iterations"),
        }
        return {
            "config": config,
            "recipe_folder": str(job.recipe_folder),
            "project": str(job.project),
            "datasets": {name: dict(entry) for name, entry in job.datasets.items()},
            "model": flat[places.MODEL],
            "batch": flat.get("data.train_batch_size", defaults["data.train_batch_size"]),
            "epochs": flat.get("trainer.total_epochs", defaults["trainer.total_epochs"]),
            "steps": flat.get("trainer.total_training_steps"),
            "max_response_length": flat.get("data.max_response_length", defaults["data.max_response_length"]),
            "max_prompt_length": flat.get("data.max_prompt_length", defaults["data.max_prompt_length"]),
            "removed": made.removed,
            "resume_path": flat.get("trainer.resume_mode") == "resume_path",
            "mirror": mirror,
            "rewards": rewards,
            "test_freq": flat.get("trainer.test_freq", defaults["trainer.test_freq"]),
            "joins": flat[f"{settings.RAY}.address"] if settings.joins(flat) else None,
            "env": {k: v for k, v in env.items() if k != "PYTHONPATH"},
        }

    def _environment(self, job: Job, made: settings.Settings) -> dict[str, str]:
        given = os.environ.get("PYTHONPATH")
        env = {
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
            "HYDRA_FULL_ERROR": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "TENSORBOARD_DIR": str(job.folder / "tensorboard"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{job.folder / 'mlflow.db'}",
            "WANDB_DIR": str(job.folder),
            "SWANLAB_LOG_DIR": str(job.folder / "swanlog"),
        }
        if made.hardware == "cpu":
            env |= hardware.cpu_env(threads=job.threads, ranks=made.ranks)
        else:
            env |= hardware.gpu_env(given=made.flat)
        models = [made.flat.get(key) for key in places.PATH_KEYS]
        if all(Path(str(name)).is_absolute() for name in models if name):
            env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
        return {name: value for name, value in env.items() if name not in _given_by_user(name, job)}

    def resume(self, job: Job) -> str | None:
        """Remove half-written checkpoints; take a newer one back from the mirror."""
        home = job.folder / places.CHECKPOINTS
        last = checkpoints.tidy(home)
        stage = yaml.safe_load((job.folder / "stage.yaml").read_text(encoding="utf-8"))
        if stage.get("mirror") and (found := checkpoints.restore(home, Path(stage["mirror"]))):
            last = checkpoints.tidy(home) or found
        (job.folder / places.PHASE).unlink(missing_ok=True)
        return f"step {last.step}" if last else None

    def finished(self, job: Job) -> bool:
        """True when the model of the last step is there and whole."""
        steps = _expected(job)
        return steps is not None and finish.merged(job.folder, steps)

    def progress(self, job: Job) -> Progress:
        """The step and the latest figures; before the first step what it is doing."""
        return history.progress(job.folder, _expected(job))

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        """One row a step, over all attempts."""
        total = _expected(job)
        return [{**row, "total": total} for row in history.rows(job.folder)]

    def verify(self, job: Job) -> Verified:
        """See that the last step was reached, its figures are numbers, and the model is whole.

        Raises:
            StageFailed: it is not so.
        """
        steps = _expected(job)
        if steps is None:
            raise StageFailed("the stage ended before it had read its prompts", "look into log.txt")
        folder = job.outputs / "model"
        if not finish.merged(job.folder, steps):
            raise StageFailed(f"the stage ended without the model of step {steps:,}", "look into log.txt")
        tensors = hf_folder.check_model(folder)
        logged = history.rows(job.folder)
        metrics = figures.final(logged, steps)
        metrics["parameters_saved"] = sum(tensor.size for tensor in tensors.values())
        warnings = _warnings(job, logged)
        rollouts = job.outputs / places.ROLLOUTS
        rollouts.touch()
        return Verified({"model": folder, "rollouts": rollouts}, metrics, tuple(warnings))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The cause in one sentence, and what to change."""
        return failures.explain(log_tail)

    def estimate(self, job: Job) -> MemoryEstimate | None:
        """GPU memory that the training is expected to take; None where the model is not known."""
        from residency.engines.verl import estimate

        return estimate.of(job)


def _given_by_user(name: str, job: Job) -> tuple[str, ...]:
    """Loggers' own places may be set by the user's environment."""
    return (name,) if name in loggers.PLACES and os.environ.get(name) else ()


def _expected(job: Job) -> int | None:
    """The step at which the training ends; None before the prompts were read."""
    report = read_json(job.folder / places.DATA / "report.json")
    if report is None:
        return None
    flat = {**tree.defaults(), **settings.build(job).flat}
    stage = {
        "batch": flat["data.train_batch_size"],
        "epochs": flat["trainer.total_epochs"],
        "steps": flat.get("trainer.total_training_steps"),
    }
    return training.expected_steps(stage, report)


def _warnings(job: Job, logged: list[dict[str, Any]]) -> list[str]:
    found = []
    report = read_json(job.folder / places.DATA / "report.json") or {}
    for part in ("train", "val"):
        about = report.get(part) or {}
        for how in ("dropped", "truncated"):
            if about.get(how):
                found.append(f"{part}: {about[how]:,} of {about['read']:,} prompts were {how}: too long")
    lost = [row["unavailable"] for row in logged if row.get("unavailable")]
    if lost:
        steps = f"{len(lost)} step{'s' if len(lost) > 1 else ''}"
        found.append(f"in {steps} some samples had no reward (up to {max(lost):.0%}) and left the loss")
    flat = [row["zero_variance_groups"] for row in logged if "zero_variance_groups" in row]
    if flat and sum(flat) / len(flat) > 0.5:
        found.append(
            f"{sum(flat) / len(flat):.0%} of the groups had equal rewards throughout, and taught nothing"
        )
    if job.config.get("gold_check") is False:
        found.append("the rewards were not checked on gold answers (`gold_check: false`)")
    return found


ENGINE = Verl()
