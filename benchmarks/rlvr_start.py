"""From the command to the first step of a GRPO training on a CPU: the launcher against verl by hand.

Both train SmolLM2-135M on the same questions with the same settings, in turn. By hand the questions
lie there in verl's form; the launcher checks its recipe, brings them into that form, and tries the
rewards on gold answers first. `RESIDENCY_BENCH_MODEL` is the model's folder.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from benchmarks.rlvr import (
    ANSWER_TOKENS,
    BETA,
    LEARNING_RATE,
    PROMPT_TOKENS,
    PROMPTS,
    ROLLOUTS,
    SECONDS,
    TEMPERATURE,
    program,
    running,
    verl_by_hand,
)
from benchmarks.timing import LAUNCH, Result, Unmeasured, environment, middle

GOAL = 1.1
REST = 5.0
"""Seconds for what was killed to be gone."""
RUNS = 3


def first_step() -> Iterator[Result]:
    """Seconds until the first step begins, through the launcher, as a multiple of verl's by hand."""
    named = os.environ.get("RESIDENCY_BENCH_MODEL")
    if not named or not (Path(named) / "config.json").is_file():
        raise Unmeasured("set RESIDENCY_BENCH_MODEL to the folder of a SmolLM2-135M-Instruct checkpoint")
    model, threads = Path(named).resolve(), os.cpu_count() or 1
    hand: list[float] = []
    ours: list[float] = []
    for turn in range(RUNS + 1):
        with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as made:  # Ray's sockets need a short path
            folder = Path(made)
            program(folder, threads, "questions", str(model), str(folder))
            argv, env = verl_by_hand(model, folder, threads, steps=1)
            by_hand = _until_first_step(argv, env, folder, lambda at=folder: [at / "metrics.jsonl"])
        with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as made:
            folder = Path(made)
            program(folder, threads, "questions", str(model), str(folder))
            launched = _launcher(model, folder)
        if turn:  # the first fills the file cache
            hand.append(by_hand)
            ours.append(launched)
    ratio = middle(ours) / middle(hand)
    yield Result("to the first GRPO step, verl by hand", middle(hand), runs=len(hand))
    yield Result(
        "to the first GRPO step, launch.py",
        middle(ours),
        runs=len(ours),
        goal=GOAL * middle(hand),
        against="python -m verl.trainer.main_ppo",
        ratio=ratio,
    )


def _launcher(model: Path, folder: Path) -> float:
    """Seconds from `launch.py recipe.yaml` to the first step, from nothing."""
    import pandas

    rows = [
        {"question": row[0]["content"], "ground_truth": "yes", "gold": "<answer>yes</answer>"}
        for row in pandas.read_parquet(folder / "questions.parquet")["prompt"]
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(yaml.safe_dump(_recipe(model)))
    env = environment(RESIDENCY_RUNS=str(folder / "runs"), CUDA_VISIBLE_DEVICES="")
    argv = [*LAUNCH, str(folder / "recipe.yaml"), "--plain"]
    return _until_first_step(argv, env, folder, lambda: folder.glob("runs/store/*/logged/1.jsonl"))


def _recipe(model: Path) -> dict[str, Any]:
    actor = {"ppo_mini_batch_size": PROMPTS, "use_kl_loss": True, "kl_loss_coef": BETA}
    return {
        "kind": "rlvr",
        "dataset": "questions.jsonl",
        "hardware": "cpu",
        "rows": {"prompt": "{question}", "gold": "{gold}"},
        "rewards": [{"fn": "rewards.format.xml_tags", "name": "format", "args": {"tags": ["answer"]}}],
        "verl": {
            "algorithm": {"adv_estimator": "grpo"},
            "data": {
                "train_batch_size": PROMPTS,
                "max_prompt_length": PROMPT_TOKENS,
                "max_response_length": ANSWER_TOKENS,
            },
            "actor_rollout_ref": {
                "model": {"path": str(model)},
                "actor": {**actor, "optim": {"lr": LEARNING_RATE}},
                "rollout": {"n": ROLLOUTS, "temperature": TEMPERATURE},
            },
            "trainer": {"total_training_steps": 1},
        },
    }


def _until_first_step(argv: list[str], env: dict[str, str], folder: Path, logs: Callable[[], Any]) -> float:
    """Seconds from the command's start to the beginning of its first step, then end it.

    The step's row is logged at its end, with the seconds that it took.
    """
    log = folder / "said.txt"
    time.sleep(REST)
    began = time.perf_counter()
    with running(argv, env, folder, log) as process:
        while time.perf_counter() - began < SECONDS:
            for path in logs():
                text = path.read_text(encoding="utf-8") if path.is_file() else ""
                if text.endswith("\n"):
                    logged = time.perf_counter() - began
                    return logged - float(json.loads(text.splitlines()[0])["data"]["timing_s/step"])
            if process.poll() is not None:
                raise Unmeasured(f"{argv[1]} ended before its first step: {log.read_text()[-800:]}")
            time.sleep(0.02)
    raise Unmeasured(f"no step within {SECONDS} s: {log.read_text()[-800:]}")


MEASURES = (first_step,)
