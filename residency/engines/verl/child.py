"""verl's process, a child of the stage's command.

verl's imports take as long as reading prompts and checking rewards. So the child may start early:
it imports, waits for its orders, a line of JSON on its standard input, and ends where none comes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from residency.engines.verl import places, shm
from residency.errors import StageFailed

DRIVER = (sys.executable, "-m", "residency.engines.verl.driver.train")
WAITS = "RESIDENCY_WAITS"
"""Tells the driver to wait for its orders."""
LINGER = 5.0
"""Seconds that Ray's processes may take to end after verl."""


class Child:
    """One process of verl's; a context that ends one which was never told to begin."""

    def __init__(self, folder: Path, env: Mapping[str, str], argv: Sequence[str] = DRIVER) -> None:
        """Start nothing yet.

        Args:
            folder: The stage's folder, in which it runs.
            env: Added to this process's environment.
            argv: The command.
        """
        self._folder = folder
        self._env = {**os.environ, **env, WAITS: "1"}
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def start(self) -> None:
        """Let it import."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._argv, cwd=self._folder, env=self._env, stdin=subprocess.PIPE
            )

    def run(self, arguments: Sequence[str], env: Mapping[str, str]) -> int:
        """Let it train, to its end; nothing of Ray's is left on the disk or in shared memory.

        Args:
            arguments: The driver's command line.
            env: Added to its environment.

        Returns:
            Its exit code, negative where a signal ended it.

        Raises:
            StageFailed: There is no folder for Ray.
        """
        ray = places.ray_folder(self._folder)
        shutil.rmtree(ray, ignore_errors=True)  # an attempt that was killed may have left it
        try:
            ray.mkdir(parents=True)
        except OSError as error:
            raise StageFailed(
                f"Ray's folder {ray} cannot be made: {error.strerror}",
                "set TMPDIR to a folder that can be written",
            ) from error
        before = shm.segments()
        stopped = False

        def stop(*_: object) -> None:
            nonlocal stopped
            stopped = True
            if self._process is not None:
                self._process.terminate()

        before_us = signal.signal(signal.SIGTERM, stop)
        try:
            if stopped:
                return -signal.SIGTERM
            self.start()
            process = self._process
            assert process is not None
            assert process.stdin is not None
            orders = json.dumps({"arguments": list(arguments), "env": dict(env)}) + "\n"
            with suppress(BrokenPipeError):  # it has ended: its code says how
                process.stdin.write(orders.encode())
                process.stdin.close()
            return process.wait()
        finally:
            signal.signal(signal.SIGTERM, before_us)
            _remove(ray)
            shm.remove_since(before)


def _remove(ray: Path) -> None:
    """Remove Ray's folder, into which processes that are just ending may still write."""
    until = time.monotonic() + LINGER
    shutil.rmtree(ray, ignore_errors=True)
    while ray.exists() and time.monotonic() < until:
        time.sleep(0.1)
        shutil.rmtree(ray, ignore_errors=True)
