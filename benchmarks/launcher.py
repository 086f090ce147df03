"""What the launcher adds to a training run, and how soon it sees that nothing is to be done."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.timing import LAUNCH, PROJECT, Result, environment, middle, once

RERUN_GOAL = 1.0
"""Seconds in which a run ends that has nothing to do."""
ROUNDS = 3

ROWS = [
    {"instruction": f"Were the {n} subjects of study {n} human?", "input": "", "output": answer}
    for n, answer in enumerate(["yes", "no"] * 50)
]


def overhead() -> Iterator[Result]:
    """The same LLaMA-Factory YAML by hand and through the launcher, in turn; then a run with nothing to do.

    The goal is 1.02 times the time by hand and 1 s.
    """
    from residency.engines.llamafactory.command import STANDIN

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = folder / "runs"
        env = environment(
            OMP_NUM_THREADS="2", PYTHONPATH=str(STANDIN), RESIDENCY_RUNS=str(runs), CUDA_VISIBLE_DEVICES=""
        )
        recipe = _recipe(folder)
        by_hand: list[float] = []
        launched: list[float] = []
        once(_hand(recipe, folder, 0), cwd=folder, env=env)  # fills the file cache; not counted
        for round_ in range(1, ROUNDS + 1):
            by_hand.append(once(_hand(recipe, folder, round_), cwd=folder, env=env)[0])
            launched.append(once((*LAUNCH, str(recipe), "--fresh"), cwd=folder, env=env)[0])
        again = [once((*LAUNCH, str(recipe)), cwd=folder, env=env)[0] for _ in range(5)]
    hand, ours = middle(by_hand), middle(launched)
    yield Result(
        "a small training run through the launcher",
        ours,
        runs=ROUNDS,
        goal=1.02 * hand + 1,
        against=f"llamafactory-cli by hand, {hand:.1f} s",
        ratio=hand / ours,
        note=f"{ours - hand:+.2f} s",
    )
    yield Result("a run with nothing to do", middle(again), runs=len(again), goal=RERUN_GOAL)


def _hand(recipe: Path, folder: Path, number: int) -> tuple[str, ...]:
    """LLaMA-Factory's own command; its last argument overrides the output folder."""
    return (
        *(sys.executable, "-m", "llamafactory.cli", "train", str(recipe)),
        f"output_dir={folder / f'hand-{number}'}",
    )


def _recipe(folder: Path) -> Path:
    """A plain LLaMA-Factory YAML with its data and a model of two layers."""
    # Not as `tests.tiny_model`: some installed packages bring a `tests` of their own.
    sys.path.insert(0, str(PROJECT / "tests"))
    from tiny_model import make_tiny_model

    model = make_tiny_model(folder / "model")
    (folder / "toy.json").write_text(json.dumps(ROWS), encoding="utf-8")
    info = {"toy": {"file_name": "toy.json"}}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    settings = {
        "model_name_or_path": str(model),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 4,
        "template": "qwen",
        "dataset": "toy",
        "dataset_dir": str(folder),
        "cutoff_len": 64,
        "per_device_train_batch_size": 2,
        "max_steps": 100,
        "logging_steps": 5,
        "save_steps": 100,
        "learning_rate": 1.0e-3,
        "report_to": "none",
        "output_dir": str(folder / "out"),
        "overwrite_output_dir": True,
        "seed": 7,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    return path


MEASURES = (overhead,)
