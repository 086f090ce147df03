"""The configuration that verl is started with, on a CPU and on a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.engines.base import Job
from residency.engines.verl import hardware, places, settings, tree
from residency.engines.verl.engine import ENGINE

ROLLOUT = "actor_rollout_ref.rollout"
BLOCK: dict[str, Any] = {
    "algorithm.adv_estimator": "grpo",
    "data.train_batch_size": 8,
    "data.max_prompt_length": 96,
    "data.max_response_length": 12,
    "actor_rollout_ref.model.path": "org/model",
    "actor_rollout_ref.actor.ppo_mini_batch_size": 4,
    "actor_rollout_ref.actor.ppo_epochs": 2,
    "actor_rollout_ref.actor.clip_ratio_high": 0.28,
    "actor_rollout_ref.actor.use_kl_loss": True,
    "actor_rollout_ref.actor.optim.lr": 1e-6,
    f"{ROLLOUT}.name": "vllm",
    f"{ROLLOUT}.n": 4,
    f"{ROLLOUT}.tensor_model_parallel_size": 2,
    "trainer.total_training_steps": 10,
}


def job(tmp_path: Path, gpus: int = 0, verl: dict[str, Any] | None = None, **top: Any) -> Job:
    block = tree.nest({name: value for name, value in {**BLOCK, **(verl or {})}.items() if value is not None})
    config = {"kind": "rlvr", "dataset": "d", "rewards": [{"fn": "rewards.x.y"}], **top, "verl": block}
    return Job("x", "rlvr", config, tmp_path / "store" / "k", tmp_path, tmp_path / "project", gpus=gpus)


def test_both_profiles_train_the_same(tmp_path: Path) -> None:
    cpu, gpu = (settings.build(job(tmp_path, gpus)) for gpus in (0, 2))
    assert (cpu.hardware, gpu.hardware) == ("cpu", "gpu")
    split = (f"{ROLLOUT}.name", f"{ROLLOUT}.tensor_model_parallel_size")
    for name, value in BLOCK.items():
        assert gpu.flat[name] == value
        if name not in split:
            assert cpu.flat[name] == value, "the recipe's, whatever it runs on"
    assert [cpu.flat[name] for name in split] == [hardware.ROLLOUT, 1]
    assert gpu.flat["trainer.n_gpus_per_node"] == 2
    assert any(line.startswith(f"{ROLLOUT}.name: 'transformers' instead of 'vllm'") for line in cpu.told)


def test_the_hardware_may_be_named(tmp_path: Path) -> None:
    assert settings.build(job(tmp_path, 2, hardware="cpu")).hardware == "cpu"
    assert settings.build(job(tmp_path, 1, hardware="gpu")).hardware == "gpu"


def test_a_gpu_needs_no_plug_in(tmp_path: Path) -> None:
    env = ENGINE.prepare(job(tmp_path, 2)).env
    assert "VERL_PLATFORM" not in env
    assert "VERL_USE_EXTERNAL_MODULES" not in env
    ours = ENGINE.prepare(job(tmp_path, 1, {f"{ROLLOUT}.name": hardware.ROLLOUT})).env
    assert ours["VERL_USE_EXTERNAL_MODULES"] == hardware.ROLLOUT_PLUGIN
    on_cpu = ENGINE.prepare(job(tmp_path)).env
    assert (on_cpu["VERL_PLATFORM"], on_cpu["VERL_USE_EXTERNAL_MODULES"]) == ("cpu", hardware.PLUGIN)


@pytest.mark.parametrize(("watchdog", "seconds"), [({}, 3600.0), ({"watchdog": {"stall_seconds": 60}}, 60.0)])
def test_the_watchdog(tmp_path: Path, watchdog: dict[str, Any], seconds: float) -> None:
    assert ENGINE.prepare(job(tmp_path, **watchdog)).stall_seconds == seconds


def test_paths_are_absolute_since_verl_runs_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "tools.yaml").touch()
    tool = f"{ROLLOUT}.multi_turn.tool_config_path"
    flat = settings.build(job(tmp_path, verl={places.MODEL: "model", tool: "tools.yaml"})).flat
    assert (flat[places.MODEL], flat[tool]) == (str(tmp_path / "model"), str(tmp_path / "tools.yaml"))
    assert settings.build(job(tmp_path)).flat[places.MODEL] == "org/model", "a name on the hub"


def test_checkpoints_and_their_mirror(tmp_path: Path) -> None:
    asked = {"every": 3, "max_keep": 5, "mirror": "copies"}
    made = ENGINE.prepare(job(tmp_path, checkpoints=asked))
    config, stage = (yaml.safe_load(made.files[name]) for name in (places.CONFIG, "stage.yaml"))
    assert config["trainer"]["save_freq"] == 3
    assert (stage["rewards"]["keep"], stage["mirror"]) == (5, str(tmp_path / "copies" / "k"))
    assert settings.build(job(tmp_path)).flat["trainer.save_freq"] == 1, "a tenth of the steps"


def test_ray_is_of_its_own_unless_a_cluster_is_named(tmp_path: Path) -> None:
    ray = "ray_kwargs.ray_init"
    own = settings.build(job(tmp_path)).flat
    assert own[f"{ray}.address"] == "local"
    assert Path(own[f"{ray}._temp_dir"]).name.startswith("ray-")
    joined = settings.build(job(tmp_path, verl={f"{ray}.address": "10.0.0.1:6379"})).flat
    assert joined[f"{ray}.address"] == "10.0.0.1:6379"
    assert not {f"{ray}.num_cpus", f"{ray}.num_gpus", f"{ray}._temp_dir"} & joined.keys()


def test_without_questions_to_validate_on_nothing_is_validated(tmp_path: Path) -> None:
    asked = {"trainer.test_freq": 2}
    assert settings.build(job(tmp_path, verl=asked)).flat["trainer.test_freq"] == -1
    there = settings.build(job(tmp_path, verl=asked, eval_dataset="d")).flat
    assert (there["trainer.test_freq"], there["trainer.val_before_train"]) == (2, True)
