"""verl's own main program on a CPU, through the platform and the rollout, for two steps."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import make_tiny_model

from residency.engines.verl import hardware

PROJECT = Path(__file__).resolve().parents[4]
QUESTIONS = (
    "Were the subjects of this study human?",
    "A trial of 120 patients with hypertension. Human?",
    "Thirty rats were given the drug.",
    "Dogs served as controls. Human?",
)
REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    return len(set(solution_str)) / 100
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("verl") is None, reason="verl is not installed"),
]


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A short path: Ray's sockets lie below it, and a socket's path has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rr", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def train(folder: Path, ray_folder: Path, ranks: int, **given: Any) -> list[dict[str, float]]:
    """Train in `folder`; returns the metrics of each step."""
    import pandas

    rows = [
        {
            "data_source": "test",
            "prompt": [{"role": "user", "content": QUESTIONS[i % len(QUESTIONS)]}],
            "reward_model": {"style": "rule", "ground_truth": "yes"},
            "extra_info": {"index": i},
        }
        for i in range(8)
    ]
    pandas.DataFrame(rows).to_parquet(folder / "data.parquet")
    (folder / "reward.py").write_text(REWARD)
    profile = hardware.cpu_settings(threads=2, ranks=ranks, given=given)
    settings: dict[str, Any] = {
        **profile.defaults,
        "data.train_files": folder / "data.parquet",
        "data.val_files": folder / "data.parquet",
        "data.train_batch_size": 4,
        "data.max_prompt_length": 64,
        "data.max_response_length": 12,
        "algorithm.adv_estimator": "grpo",
        "actor_rollout_ref.model.path": folder / "model",
        "actor_rollout_ref.rollout.n": 4,
        "actor_rollout_ref.actor.ppo_mini_batch_size": 4,
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.actor.optim.lr": 1e-3,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.actor.checkpoint.save_contents": "['hf_model']",
        "reward.custom_reward_function.path": folder / "reward.py",
        "trainer.logger": "['file']",
        "trainer.total_training_steps": 2,
        "trainer.save_freq": 2,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.resume_mode": "disable",
        "trainer.default_local_dir": folder / "checkpoints",
        "ray_kwargs.ray_init._temp_dir": ray_folder,
        "ray_kwargs.ray_init.include_dashboard": False,
        **given,
        **profile.forced,
    }
    metrics = folder / "metrics.jsonl"
    env = {
        **os.environ,
        **hardware.cpu_env(threads=2, ranks=ranks),
        "PYTHONPATH": str(PROJECT),
        "HF_HUB_OFFLINE": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VERL_FILE_LOGGER_PATH": str(metrics),
    }
    argv = [sys.executable, "-m", "verl.trainer.main_ppo", f"hydra.run.dir={folder}/hydra"]
    argv += [f"++{key}={str(v).lower() if isinstance(v, bool) else v}" for key, v in settings.items()]
    log = folder / "log.txt"
    with log.open("w") as output:
        verl = subprocess.Popen(
            argv, env=env, cwd=folder, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = verl.wait(timeout=280)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(verl.pid, signal.SIGKILL)
    assert code == 0, log.read_text(errors="replace")[-4000:]
    return [json.loads(line)["data"] for line in metrics.read_text().splitlines()]


@pytest.mark.parametrize(
    ("ranks", "given"),
    [
        (1, {}),
        (2, {"actor_rollout_ref.model.lora_rank": 4, "actor_rollout_ref.model.target_modules": "all-linear"}),
    ],
    ids=["one rank", "two ranks with LoRA"],
)
def test_two_steps_change_the_weights(
    tmp_path: Path, ray_folder: Path, ranks: int, given: dict[str, Any]
) -> None:
    make_tiny_model(tmp_path / "model")
    steps = train(tmp_path, ray_folder, ranks, **given)
    assert [step["training/global_step"] for step in steps] == [1, 2]
    for step in steps:
        assert math.isfinite(step["actor/loss"])
        assert step["actor/grad_norm"] > 0
        # the rollout holds the weights that are trained: its log-probabilities are the actor's
        assert step["training/rollout_actor_probs_pearson_corr"] > 0.9
        assert step["response_length/max"] <= 12

    from safetensors.torch import load_file

    saved = tmp_path / "checkpoints" / "global_step_2" / "actor" / "huggingface" / "model.safetensors"
    before, after = load_file(tmp_path / "model" / "model.safetensors"), load_file(saved)
    if "actor_rollout_ref.model.lora_rank" in given:  # LoRA's B is 0 until it is trained
        trained = [tensor for name, tensor in after.items() if "lora_B" in name]
        assert any(tensor.abs().max() > 1e-4 for tensor in trained)
    else:
        assert before.keys() == after.keys()
        assert any((before[name].float() - after[name].float()).abs().max() > 1e-4 for name in before)
