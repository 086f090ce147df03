"""The command of a training stage and its environment."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

from residency.engines.base import Job
from residency.engines.llamafactory.settings import Settings, processes

STANDIN = Path(__file__).parent / "standin"
STALL = 3600.0
"""Seconds of silence after which several processes count as hung (a lost NCCL peer says nothing)."""


def argv() -> tuple[str, ...]:
    """The command, run in the stage's folder."""
    return (sys.executable, "-m", "llamafactory.cli", "train", "train.yaml")


def environment(job: Job, settings: Settings) -> dict[str, str]:
    """What the command needs in its environment. Holds no secret."""
    env: dict[str, str] = {
        "HF_DATASETS_CACHE": str(job.folder / "cache"),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(max(1, job.threads // processes(job))),
        "PYTHONUNBUFFERED": "1",
    }
    if job.gpus == 0:
        env["OMP_WAIT_POLICY"] = "PASSIVE"  # spinning threads slow a busy machine tenfold
        env["CUDA_VISIBLE_DEVICES"] = ""
    if settings.offline:
        env["HF_HUB_OFFLINE"] = "1"
        env["HF_DATASETS_OFFLINE"] = "1"
    if importlib.util.find_spec("torchaudio") is None:
        env["PYTHONPATH"] = _before("PYTHONPATH", STANDIN)
    if distributed(job, settings):
        env["FORCE_TORCHRUN"] = "1"
        env["NPROC_PER_NODE"] = str(processes(job))
        env["PATH"] = _before("PATH", Path(sys.executable).parent)  # it calls `torchrun`
    elif "FORCE_TORCHRUN" in os.environ:
        env["FORCE_TORCHRUN"] = "0"  # one process was planned
    if "tensorboard" in str(settings.values.get("report_to")):
        # transformers 5 ignores `logging_dir`.
        folder = settings.values.get("logging_dir") or "tensorboard"
        env["TENSORBOARD_LOGGING_DIR"] = str((job.folder / str(folder)).absolute())
    return env


def distributed(job: Job, settings: Settings) -> bool:
    """True when torchrun must start the training processes."""
    return processes(job) > 1 or bool(settings.values.get("deepspeed") or settings.values.get("fsdp"))


def _before(variable: str, folder: Path) -> str:
    rest = os.environ.get(variable)
    return f"{folder}{os.pathsep}{rest}" if rest else str(folder)
