"""What only a GPU shows; see docs/gpu.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_model import make_tiny_model
from training_case import ROWS, run, tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory.engine import ENGINE
from residency.plan import machine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not machine.gpus(), reason="nvidia-smi shows no GPU"),
]
FACTOR = 1.35
"""How far the estimate may be from PyTorch's peak, either way."""
PEAK = '''
"""Writes the peak of PyTorch's allocator when the process ends."""
import atexit, json, os, sys

def _write():
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with open(os.environ["PEAK_FILE"], "w") as stream:
            json.dump(torch.cuda.max_memory_allocated(), stream)

atexit.register(_write)
'''


def log(job: Job) -> str:
    return (job.folder / "log.txt").read_text(errors="replace")[-3000:]


def test_lora_in_bf16(make_job: Callable[..., Job], tiny_model: Path) -> None:
    job = make_job(tiny_block(tiny_model, bf16=True), gpus=1)
    written = yaml.safe_load(ENGINE.prepare(job).files["train.yaml"])
    assert "use_cpu" not in written
    assert run(job) == 0, log(job)
    done = ENGINE.verify(job)
    assert done.metrics["steps"] == 4
    assert 0 < done.metrics["last_loss"] < 20
    assert "device: cuda:0" in (job.folder / "log.txt").read_text(errors="replace")


def test_it_goes_on_from_a_checkpoint(make_job: Callable[..., Job], tiny_model: Path) -> None:
    job = make_job(tiny_block(tiny_model, bf16=True, save_steps=1), gpus=1)
    assert run(job) == 0, log(job)
    (job.folder / "training" / "trainer_state.json").unlink()
    assert ENGINE.resume(job) == "checkpoint-3"
    assert run(job) == 0, log(job)
    assert ENGINE.verify(job).metrics["steps"] == 4


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_memory_estimate(
    make_job: Callable[..., Job],
    project: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    """About 100 million parameters, rows that fill the cut-off, a batch whose activations weigh."""
    model = make_tiny_model(tmp_path / "model", layers=20, hidden=768, tied=True)
    long = " ".join(row["instruction"] for row in ROWS)
    rows = [{"instruction": long, "input": "", "output": long * 4}] * 16
    (project / "data" / "toy.json").write_text(json.dumps(rows))
    block = tiny_block(
        model, bf16=True, finetuning_type=method, cutoff_len=1024, per_device_train_batch_size=8
    )
    if method == "full":
        del block["lora_rank"]
    job = make_job(block, gpus=1)
    expected = ENGINE.estimate(job)
    assert expected is not None

    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(PEAK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("PEAK_FILE", str(tmp_path / "peak.json"))
    assert run(job) == 0, log(job)
    peak = json.loads((tmp_path / "peak.json").read_text())
    # What the estimate adds for the CUDA context is not PyTorch's.
    said = replace(expected, overhead=0).total
    assert peak / FACTOR < said < peak * FACTOR, f"expected {said:,} bytes, the peak was {peak:,}"
