"""Measuring commands, and what a measurement says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
LAUNCH = (sys.executable, str(PROJECT / "launch.py"))


class Unmeasured(Exception):
    """A measurement that cannot be made here, and why."""


@dataclass(frozen=True, slots=True)
class Result:
    """One figure, with what it is held against."""

    name: str
    value: float
    unit: str = "s"
    runs: int = 1
    """The value is the median of so many."""
    goal: float | None = None
    """It should not be more than this (not less, where `more_is_better`)."""
    against: str = ""
    """What it is compared with."""
    ratio: float | None = None
    """How many times it the other takes."""
    more_is_better: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal

    def to_json(self) -> dict[str, Any]:
        """The figure as JSON."""
        return asdict(self) | {"met": self.met}


def environment(**more: str) -> dict[str, str]:
    """This environment for offline runs on a CPU, whose threads do not spin."""
    settings = {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return {**os.environ, **settings, "NO_COLOR": "1", **more}


def once(
    argv: Sequence[str],
    *,
    codes: Sequence[int] = (0,),
    cwd: Path = PROJECT,
    env: Mapping[str, str] | None = None,
    timeout: float = 900,
) -> tuple[float, str]:
    """Seconds that a command takes from start to end, and what it printed.

    Raises:
        Unmeasured: It ended with another exit code than expected, so it did not do what is timed.
    """
    began = time.perf_counter()
    try:
        done = subprocess.run(
            argv, cwd=cwd, env=env or environment(), capture_output=True, text=True, timeout=timeout
        )
    except FileNotFoundError as error:
        raise Unmeasured(f"{argv[0]} is not there") from error
    except subprocess.TimeoutExpired as error:
        raise Unmeasured(f"{' '.join(argv[-3:])} took more than {timeout:.0f} s") from error
    seconds = time.perf_counter() - began
    said = done.stdout + done.stderr
    if done.returncode not in codes:
        last = [line for line in said.splitlines() if "error" in line.lower()] or said.split("\n")[-2:]
        raise Unmeasured(f"{' '.join(argv[-3:])} exited {done.returncode}: {last[0]}")
    return seconds, said


def times(argv: Sequence[str], runs: int, **more: Any) -> list[float]:
    """Seconds of so many new processes, after one that fills the file cache and is not counted."""
    once(argv, **more)
    return [once(argv, **more)[0] for _ in range(runs)]


def middle(seconds: Sequence[float]) -> float:
    """The median."""
    return float(median(seconds))
