"""What the runner's tests share: a view that remembers, launchers as processes, a count of what is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.engines.base import Progress
from residency.run import procs
from residency.run.view import SilentView

LAUNCH = Path(__file__).with_name("fake_launch.py")
MARK = "RESIDENCY_TEST_MARK"
PATIENCE = 120.0
"""Seconds for what takes one on a quiet machine: a busy one is no reason to fail."""


class Heard(SilentView):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, str]] = []
        self.lines: list[str] = []
        self.messages: list[tuple[str, str]] = []
        self.services: list[tuple[str, str]] = []
        self.steps: list[Progress] = []
        self.ended: str | None = None

    def stage(self, name: str, status: str, note: str = "") -> None:
        self.stages.append((name, status))

    def service(self, name: str, status: str, note: str = "") -> None:
        self.services.append((name, status))

    def progress(self, name: str, progress: Progress, elapsed: float) -> None:
        self.steps.append(progress)

    def line(self, name: str, text: str) -> None:
        self.lines.append(text)

    def message(self, text: str, style: str = "info") -> None:
        self.messages.append((style, text))

    def end(self, status: str, seconds: float) -> None:
        self.ended = status


@dataclass
class Launchers:
    """Starts launchers, and knows every process that comes of them."""

    runs: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(
        self, stages: dict[str, Any], services: dict[str, Any] | None = None, **env: str
    ) -> subprocess.Popen[str]:
        """Start one; with `services` every stage uses all of them."""
        more = [services, {stage: list(services) for stage in stages}] if services else []
        process = subprocess.Popen(
            [sys.executable, str(LAUNCH), str(self.runs), *map(json.dumps, [stages, *more])],
            env={**os.environ, MARK: self.mark, "RESIDENCY_GRACE": "0.5", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Under `nohup` children ignore it from their birth.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.started.append(process)
        return process

    def run(self, stages: dict[str, Any], **env: str) -> tuple[int, str]:
        process = self.start(stages, **env)
        text, _ = process.communicate(timeout=PATIENCE)
        return process.returncode, text

    def wait_for(self, process: subprocess.Popen[str], text: str, seconds: float = PATIENCE) -> str:
        """Read what the launcher says up to a line that begins with `text`."""
        assert process.stdout is not None
        until, said = time.monotonic() + seconds, ""
        while time.monotonic() < until:
            line = process.stdout.readline()
            said += line
            if line.startswith(text):
                return said
            if not line:
                break
        raise AssertionError(f"no {text!r} in:\n{said}")

    def left(self) -> list[int]:
        """The living processes that bear our mark."""
        wanted = f"{MARK}={self.mark}".encode()
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    environ = Path("/proc", entry, "environ").read_bytes()
                except OSError:
                    continue
                if wanted in environ.split(b"\0") and procs.started(int(entry)):
                    found.append(int(entry))
        return found

    def none_left(self, seconds: float = 30) -> bool:
        until = time.monotonic() + seconds
        while self.left():
            if time.monotonic() > until:
                return False
            time.sleep(0.02)
        return True
