"""Commands as processes of this machine, its GPUs given out in slots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from residency.errors import Missing
from residency.plan import machine
from residency.run import procs, supervise
from residency.run.executors.base import Executor, Exit, Running, Task, Wants

GRACE = 10.0
"""Seconds between SIGTERM and SIGKILL; RESIDENCY_GRACE overrides it."""


def grace() -> float:
    """Seconds that a command has to end after SIGTERM."""
    try:
        return max(0.0, float(os.environ["RESIDENCY_GRACE"]))
    except (KeyError, ValueError):
        return GRACE


def gpus() -> tuple[str, ...]:
    """The GPUs that the launcher may use, as CUDA_VISIBLE_DEVICES names them."""
    count = machine.gpu_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return tuple(str(index) for index in range(count))
    return tuple(n for name in given.split(",") if (n := name.strip()) and n != "-1")[:count]


class LocalRunning(Running):
    """A command under its supervisor."""

    def __init__(self, task: Task) -> None:
        lifeline, self._lifeline = os.pipe()
        self._status, status = os.pipe()
        os.set_blocking(self._status, False)
        argv = [sys.executable, "-I", "-S", str(Path(supervise.__file__).resolve())]
        argv += [str(lifeline), str(status), str(task.lock), str(task.log), str(grace())]
        argv += [",".join(task.secrets), "--", *task.argv]
        try:
            self._process = subprocess.Popen(
                argv,
                cwd=task.folder,
                env=dict(task.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[fd for fd in (lifeline, status, task.lock) if fd >= 0],
            )
        except BaseException:
            os.close(self._status)
            os.close(self._lifeline)
            raise
        finally:
            os.close(lifeline)
            os.close(status)
        self._cookie = task.env.get(procs.COOKIE, "")
        self._text = b""
        self._exit: Exit | None = None
        self._ended: Exit | None = None

    def poll(self) -> Exit | None:
        """How it ended, once the supervisor has told and gone."""
        if self._ended is not None:
            return self._ended
        if self._read():
            return None
        # The supervisor has closed its end: it is at its end too.
        code = self._process.wait()
        if self._exit is None:
            self._kill_remains()
            how = f"killed by signal {-code}" if code < 0 else f"ended with {code}"
            self._exit = Exit(error=f"its supervisor was {how}")
        # First this: a signal's handler may want to write to the lifeline at any moment.
        self._ended = self._exit
        os.close(self._status)
        os.close(self._lifeline)
        return self._ended

    def _read(self) -> bool:
        """Take in what the supervisor tells; False when it has closed its end."""
        while True:
            try:
                data = os.read(self._status, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, self._text = (self._text + data).split(b"\n")
            for line in lines:
                said = json.loads(line)
                if "pid" in said:
                    self.pid, self.pid_started = said["pid"], said["started"]
                elif "log_error" in said:
                    self.log_error = said["log_error"]
                else:
                    self._exit = Exit(
                        said.get("exit"), said.get("signal"), said.get("error"), said.get("peak")
                    )

    def _kill_remains(self) -> None:
        if self.pid is not None and self.pid_started is not None:
            procs.kill_group(self.pid, self.pid_started)
        procs.send(procs.of_attempt(self._cookie), signal.SIGKILL)

    def fileno(self) -> int | None:
        """The pipe on which the supervisor tells."""
        return self._status if self._ended is None else None

    def _say(self, word: bytes) -> None:
        if self._ended is None:
            with suppress(OSError):
                os.write(self._lifeline, word)

    def stop(self) -> None:
        """SIGTERM to all of it, SIGKILL after the grace."""
        self._say(supervise.STOP)

    def kill(self) -> None:
        """SIGKILL to all of it."""
        self._say(supervise.KILL)


class LocalExecutor(Executor):
    """This machine."""

    name: ClassVar[str] = "local"

    def __init__(self) -> None:
        self._given: dict[str, tuple[str, ...]] = {}

    def check(self, stages: Sequence[Wants]) -> None:
        """Raise Missing when a stage wants more GPUs than there are."""
        wanting = [stage for stage in stages if stage.job.gpus > 0]
        short = [stage for stage in wanting if stage.job.gpus > len(gpus())]
        if short:
            listed = ", ".join(f"{stage.name} wants {stage.job.gpus}" for stage in short)
            raise Missing(
                f"this machine has {len(gpus()) or 'no'} GPU{'s' if len(gpus()) != 1 else ''}: {listed}",
                "use a machine that has them, --set resources.gpus=N, or --profile smoke",
            )

    def reserve(self, stage: Wants) -> Mapping[str, str] | None:
        """The lowest free GPUs, as CUDA_VISIBLE_DEVICES."""
        if stage.job.gpus == 0:
            return {"CUDA_VISIBLE_DEVICES": ""}
        taken = {gpu for given in self._given.values() for gpu in given}
        free = [gpu for gpu in gpus() if gpu not in taken]
        if len(free) < stage.job.gpus:
            return None
        self._given[stage.name] = tuple(free[: stage.job.gpus])
        return {"CUDA_VISIBLE_DEVICES": ",".join(self._given[stage.name])}

    def release(self, stage: Wants) -> None:
        """Take the stage's GPUs back."""
        self._given.pop(stage.name, None)

    def start(self, task: Task) -> Running:
        """Start the command under a supervisor."""
        return LocalRunning(task)


def make() -> Executor:
    """An executor with all GPUs free."""
    return LocalExecutor()
