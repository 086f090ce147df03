"""What this machine has: GPUs with their memory, CPU cores. Asks no heavy library."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU."""

    name: str
    memory: int
    """Bytes."""


def gpu_count() -> int:
    """GPUs that a command started now would see; a look at /dev, so that `check` stays quick."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    present = len([p for p in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", p.name)])
    if visible is None:
        return present
    chosen = [item for item in visible.split(",") if item.strip() and item.strip() != "-1"]
    return min(present, len(chosen))


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs as nvidia-smi tells them; empty where there are none."""
    count = gpu_count()
    if not count:
        return ()
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = []
    for line in done.stdout.splitlines():
        name, _, memory = line.rpartition(",")
        if memory.strip().isdigit():
            found.append(Gpu(name.strip(), int(memory) * MIB))
    return tuple(found[:count])


def cpu_count() -> int:
    """CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
