"""Fixtures of the runner's tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from run_case import Heard, Launchers

from residency.run import procs


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def launchers(runs: Path) -> Iterator[Launchers]:
    if not procs.LINUX:
        pytest.skip("counts processes through /proc")
    found = Launchers(runs)
    yield found
    for process in found.started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    left = found.left()
    procs.send(left, signal.SIGKILL)
    assert not left, f"processes were left running: {left}"
