"""A GRPO step on a CPU: verl with this project's platform against TRL's GRPOTrainer.

The same work for both, in the same environment, one after the other: SmolLM2-135M, 4 prompts of
256 tokens × 4 rollouts of 32, a reference model, AdamW, weights in float32 and computing in the
precision that the CPU profile picks. `RESIDENCY_BENCH_MODEL` is the model's folder.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.timing import PROJECT, Result, Unmeasured, environment
from residency.engines.verl import hardware

STEPS = 5
"""The first is left out: both load things in it."""
PROMPTS, ROLLOUTS, PROMPT_TOKENS, ANSWER_TOKENS = 4, 4, 256, 32
TEMPERATURE, LEARNING_RATE, BETA = 1.0, 1e-6, 0.001
GOAL = 1.2
SECONDS = 900


def grpo_step() -> Iterator[Result]:
    """Seconds of a step in verl, as a multiple of TRL's."""
    named = os.environ.get("RESIDENCY_BENCH_MODEL")
    if not named or not (Path(named) / "config.json").is_file():
        raise Unmeasured("set RESIDENCY_BENCH_MODEL to the folder of a SmolLM2-135M-Instruct checkpoint")
    model = Path(named).resolve()
    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp") as made:  # Ray's sockets need a short path
        folder = Path(made)
        program(folder, threads, "questions", str(model), str(folder))
        trl = program(folder, threads, "trl", str(model), str(folder))["seconds"][1:]
        steps = _verl(model, folder, threads)[1:]
    ours = [step["timing_s/step"] for step in steps]
    parts = ("gen", "old_log_prob", "ref", "update_actor", "update_weights")
    where = ", ".join(f"{part} {median(step[f'timing_s/{part}'] for step in steps):.1f}" for part in parts)
    ratio = median(ours) / median(trl)
    precision = "bf16" if hardware.multiplies_bf16() else "fp32"
    yield Result("GRPO step, TRL", median(trl), runs=len(trl), note=precision)
    yield Result(
        "GRPO step, verl",
        median(ours),
        runs=len(ours),
        goal=GOAL * median(trl),
        against="TRL's GRPOTrainer",
        ratio=ratio,
        note=f"seconds: {where}",
    )


def program(folder: Path, threads: int, *arguments: str) -> dict[str, Any]:
    """Run a part of this module in a process of its own; returns what it left in result.json."""
    env = environment(OMP_NUM_THREADS=str(threads), PYTHONPATH=str(PROJECT))
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.rlvr", *arguments],
        cwd=PROJECT,
        env=env,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise Unmeasured(f"{arguments[0]} ended with {done.returncode}: {done.stderr[-800:]}")
    found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return found


def _verl(model: Path, folder: Path, threads: int) -> list[dict[str, float]]:
    """Run verl's main program under the CPU profile; returns each step's metrics."""
    argv, env = verl_by_hand(model, folder, threads)
    with running(argv, env, folder, folder / "verl.log") as verl:
        try:
            code = verl.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            raise Unmeasured(f"verl took longer than {SECONDS} s") from None
    if code:
        said = (folder / "verl.log").read_text(errors="replace")
        raise Unmeasured(f"verl ended with {code}: {said[-800:]}")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    shutil.rmtree(folder / "ray", ignore_errors=True)
    return [json.loads(line)["data"] for line in lines]


@contextmanager
def running(argv: list[str], env: dict[str, str], cwd: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a process group of its own, which is killed at the end with all that it started."""
    with log.open("w") as output:
        process = subprocess.Popen(
            argv, env=env, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def verl_by_hand(
    model: Path, folder: Path, threads: int, steps: int = STEPS
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of verl's own main program, under the CPU profile's settings.

    It reads `questions.parquet` in the folder and logs its steps to `metrics.jsonl` there.
    """
    profile = hardware.cpu_settings(threads=threads, ranks=1, given={})
    rows = PROMPTS * ROLLOUTS
    settings: dict[str, Any] = {
        **profile.defaults,
        "data.train_files": folder / "questions.parquet",
        "data.val_files": folder / "questions.parquet",
        "data.train_batch_size": PROMPTS,
        "data.max_prompt_length": PROMPT_TOKENS,
        "data.max_response_length": ANSWER_TOKENS,
        "algorithm.adv_estimator": "grpo",
        "actor_rollout_ref.model.path": model,
        "actor_rollout_ref.rollout.n": ROLLOUTS,
        "actor_rollout_ref.rollout.temperature": TEMPERATURE,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": rows,
        "actor_rollout_ref.actor.ppo_mini_batch_size": PROMPTS,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": rows,
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": rows,
        "actor_rollout_ref.actor.use_kl_loss": True,
        "actor_rollout_ref.actor.kl_loss_coef": BETA,
        "actor_rollout_ref.actor.optim.lr": LEARNING_RATE,
        "reward.custom_reward_function.path": PROJECT / "benchmarks" / "rlvr_reward.py",
        "trainer.logger": "['file']",
        "trainer.total_training_steps": steps,
        "trainer.save_freq": -1,
        "trainer.test_freq": -1,
        "trainer.val_before_train": False,
        "trainer.resume_mode": "disable",
        "ray_kwargs.ray_init._temp_dir": folder / "ray",
        "ray_kwargs.ray_init.include_dashboard": False,
        **profile.forced,
    }
    env = environment(
        **hardware.cpu_env(threads=threads, ranks=1),
        PYTHONPATH=str(PROJECT),
        RAY_USAGE_STATS_ENABLED="0",
        VERL_FILE_LOGGER_PATH=str(folder / "metrics.jsonl"),
    )
    argv = [sys.executable, "-m", "verl.trainer.main_ppo", f"hydra.run.dir={folder}/hydra"]
    argv += [f"++{key}={str(v).lower() if isinstance(v, bool) else v}" for key, v in settings.items()]
    return argv, env


MEASURES = (grpo_step,)


# ---------------------------------------------------------------- in processes of their own


def _questions(model: str, folder: Path) -> dict[str, Any]:
    """Write questions that are PROMPT_TOKENS long in the model's chat template."""
    import random

    import pandas
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    draw = random.Random(0)
    words = [
        "patients",
        "rats",
        "trial",
        "dogs",
        "humans",
        "controls",
        "drug",
        "given",
        "hypertension",
        "randomised",
    ]

    def tokens(text: str) -> int:
        messages = [{"role": "user", "content": text}]
        return len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))

    rows = []
    for index in range(PROMPTS * STEPS):
        text = "Were the subjects of this study human?"
        while tokens(f"{text} randomised") < PROMPT_TOKENS:
            text += f" {draw.choice(words)}"
        while tokens(f"{text} a") <= PROMPT_TOKENS:
            text += " a"
        rows.append(
            {
                "data_source": "benchmark",
                "prompt": [{"role": "user", "content": text}],
                "reward_model": {"style": "rule", "ground_truth": ""},
                "extra_info": {"index": index},
            }
        )
    pandas.DataFrame(rows).to_parquet(folder / "questions.parquet")
    return {}


def _trl(model: str, folder: Path) -> dict[str, Any]:
    """Train with TRL; returns the seconds of each step."""
    import time

    import pandas
    import torch
    import trl.import_utils as extras

    # transformers 5 answers "is it there" with a pair, which TRL 0.24 takes for yes
    for name, value in list(vars(extras).items()):
        if name.endswith("_available") and isinstance(value, tuple):
            setattr(extras, name, value[0])
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    from benchmarks.rlvr_reward import compute_score
    from datasets import Dataset

    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            seconds.append(-time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seconds[-1] += time.perf_counter()

    def reward(completions: list[Any], **_: Any) -> list[float]:
        return [compute_score("", completion[0]["content"], "") for completion in completions]

    policy: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    policy.warnings_issued = {}  # TRL 0.24 writes to it; transformers 5 no longer has it
    questions = pandas.read_parquet(folder / "questions.parquet")["prompt"]
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=reward,
        args=GRPOConfig(
            output_dir=str(folder / "trl"),
            per_device_train_batch_size=PROMPTS * ROLLOUTS,
            num_generations=ROLLOUTS,
            max_prompt_length=PROMPT_TOKENS,
            max_completion_length=ANSWER_TOKENS,
            temperature=TEMPERATURE,
            top_k=0,
            beta=BETA,
            loss_type="grpo",
            learning_rate=LEARNING_RATE,
            max_steps=STEPS,
            use_cpu=True,
            bf16=hardware.multiplies_bf16(),
            gradient_checkpointing=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": [dict(m) for m in messages]} for messages in questions]),
        callbacks=[Clock()],
    )
    trainer.train()
    return {"seconds": seconds}


if __name__ == "__main__":
    part, model_folder, out = sys.argv[1:]
    made_here = {"questions": _questions, "trl": _trl}[part](model_folder, Path(out))
    (Path(out) / "result.json").write_text(json.dumps(made_here), encoding="utf-8")
