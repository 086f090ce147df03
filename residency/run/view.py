"""What shows a run while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from residency.engines.base import Progress
from residency.plan.model import Plan


class View(Protocol):
    """Told of everything that happens, from the launcher's own thread."""

    def begin(self, plan: Plan, run_dir: Path) -> None:
        """The run starts."""

    def stage(self, name: str, status: str, note: str = "") -> None:
        """A stage is now waiting, running, done, reused, failed, interrupted or skipped."""

    def service(self, name: str, status: str, note: str = "") -> None:
        """A service is now starting, ready, restarting, stopping, stopped or failed."""

    def progress(self, name: str, progress: Progress, elapsed: float) -> None:
        """How far a running stage is, about once a second; `elapsed` seconds in this attempt."""

    def line(self, name: str, text: str) -> None:
        """A line of a stage's log, secrets masked."""

    def message(self, text: str, style: str = "info") -> None:
        """Something to say: `info`, `warning` or `error`."""

    def end(self, status: str, seconds: float) -> None:
        """The run is done, failed or interrupted."""


class SilentView:
    """Shows nothing."""

    def begin(self, plan: Plan, run_dir: Path) -> None:
        """Nothing."""

    def stage(self, name: str, status: str, note: str = "") -> None:
        """Nothing."""

    def service(self, name: str, status: str, note: str = "") -> None:
        """Nothing."""

    def progress(self, name: str, progress: Progress, elapsed: float) -> None:
        """Nothing."""

    def line(self, name: str, text: str) -> None:
        """Nothing."""

    def message(self, text: str, style: str = "info") -> None:
        """Nothing."""

    def end(self, status: str, seconds: float) -> None:
        """Nothing."""
