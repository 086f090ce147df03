"""Helpers of the LLaMA-Factory tests: a small recipe block, and a way to run its command."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from residency.engines.base import Job
from residency.engines.llamafactory.engine import ENGINE

ROWS = [
    {"instruction": f"Were the {number} subjects of study {number} human?", "input": "", "output": answer}
    for number, answer in enumerate(["yes", "no"] * 12)
]
PAIRS = [
    {"instruction": row["instruction"], "input": "", "chosen": row["output"], "rejected": "perhaps"}
    for row in ROWS
]
INFO = {
    "toy": {"file_name": "data/toy.json"},
    "toy_pairs": {
        "file_name": "data/pairs.json",
        "ranking": True,
        "columns": {"prompt": "instruction", "query": "input", "chosen": "chosen", "rejected": "rejected"},
    },
}


def tiny_block(model: Path, **more: Any) -> dict[str, Any]:
    """A block that trains in seconds."""
    return {
        "model_name_or_path": str(model),
        "stage": "sft",
        "finetuning_type": "lora",
        "lora_rank": 4,
        "template": "qwen",
        "cutoff_len": 64,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "learning_rate": 1.0e-3,
        "max_steps": 4,
        **more,
    }


def write(job: Job) -> dict[str, str]:
    """Write the stage's files; returns the environment of its command."""
    launch = ENGINE.prepare(job)
    job.folder.mkdir(parents=True, exist_ok=True)
    for name, text in launch.files.items():
        (job.folder / name).write_text(text)
    return {**os.environ, "HF_HOME": str(job.folder.parent / "hf"), **launch.env}


@contextmanager
def started(job: Job) -> Iterator[subprocess.Popen[bytes]]:
    """The stage's command, running; killed at the end of the block with all its children."""
    env = write(job)
    with (job.folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            ENGINE.prepare(job).argv, cwd=job.folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait()


def run(job: Job) -> int:
    """Run the stage's command to its end; returns its exit code."""
    with started(job) as process:
        return process.wait(timeout=900)


def write_tensors(path: Path, names: tuple[str, ...] = ("a.lora_A.weight", "a.lora_B.weight")) -> None:
    """A small safetensors file."""
    header = {
        name: {"dtype": "F32", "shape": [1, 1], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4 * len(names)))


def make_checkpoint(training: Path, step: int, total: int = 10) -> Path:
    """What the trainer leaves at a step of a LoRA training."""
    folder = training / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    write_tensors(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text("{}")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("data.pkl", b"x" * 100)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "max_steps": total}))
    return folder
