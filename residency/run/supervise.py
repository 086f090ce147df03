"""A small process between the launcher and a stage's command.

It starts the command in a session of its own, writes the log, and sees to it that no process
of the command outlives the launcher: the launcher holds one end of a pipe (the lifeline), and
when that end closes, by SIGKILL or otherwise, the whole tree of the command is stopped. Where
the system allows (Linux), orphans of the command are handed to the supervisor, so that also
those that left the command's process group are found.

Standard library only, and run by its path without site-packages, so that it starts in a few
milliseconds: `python -I -S supervise.py OPTIONS -- COMMAND…`; see `main` for the options.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from residency.run import procs
from residency.run.logs import LineFolder
from residency.run.redact import Redactor

STOP = b"t"
"""On the lifeline: stop the command, SIGTERM first."""
KILL = b"k"
"""On the lifeline: SIGKILL at once."""

LEFTOVER_SECONDS = 2.0
"""What a command leaves running gets this long to end by itself, and again after SIGTERM."""
_READ = 1 << 20
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_F_SETPIPE_SZ = 1031


def _prctl() -> Callable[[int, int], object] | None:
    if not procs.LINUX:
        return None
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        return lambda option, value: libc.prctl(option, value, 0, 0, 0)
    except (OSError, AttributeError):
        return None


class Supervisor:
    """One command under supervision."""

    def __init__(
        self,
        argv: list[str],
        *,
        lifeline: int,
        status: int,
        lock: int,
        log: str,
        grace: float,
        secrets: list[str],
    ) -> None:
        self.argv = argv
        self.lifeline = lifeline
        self.status = status
        self.lock = lock
        self.grace = grace
        self.leftover = min(LEFTOVER_SECONDS, grace)
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.folder = LineFolder(
            Redactor(os.environ[name] for name in secrets if name in os.environ), time.monotonic()
        )
        self.prctl = _prctl()
        self.pid = 0
        self.exit: int | None = None
        """The command's wait status, once it has ended."""
        self.children = True
        self.kill_at: float | None = None
        """When SIGTERM has had its time."""
        self.log_broken = False
        self.touched = 0.0

    def tell(self, **message: object) -> None:
        """A line of JSON to the launcher, which may be gone."""
        with suppress(OSError):
            os.write(self.status, json.dumps(message).encode() + b"\n")

    def start(self) -> int:
        """Start the command; returns the reading end of its output."""
        out, into = os.pipe()
        if procs.LINUX:
            import fcntl

            with suppress(OSError):  # a bigger pipe: the command seldom waits for us
                fcntl.fcntl(into, _F_SETPIPE_SZ, _READ)
        if self.prctl:
            self.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        prctl = self.prctl

        def die_with_supervisor() -> None:
            if prctl:
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        child = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=into,
            stderr=into,
            start_new_session=True,
            pass_fds=(self.lock,) if self.lock >= 0 else (),
            # Safe: this process has one thread.
            preexec_fn=die_with_supervisor,
        )
        child.returncode = 0  # reaped below, among its orphans
        os.close(into)
        self.pid = child.pid
        self.tell(pid=child.pid, started=procs.started(child.pid))
        return out

    def stop(self, grace: float) -> None:
        """SIGTERM to the whole tree, SIGKILL after `grace` seconds."""
        until = time.monotonic() + grace
        if self.kill_at is None or grace <= 0:
            if grace > 0:
                self.send(signal.SIGTERM)
            self.kill_at = until

    def send(self, number: signal.Signals) -> None:
        """A signal to the whole tree."""
        procs.send(self.tree(), number)
        if not procs.LINUX and self.pid:
            # No orphan comes to us here; those that stayed in the group are reached through it.
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def tree(self) -> list[int]:
        """Every living process below this one."""
        found = procs.descendants(os.getpid())
        if self.exit is None and self.pid not in found:
            found.insert(0, self.pid)
        return found

    def reap(self) -> None:
        """Collect those that have ended, the command and its orphans."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                self.children = False
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.exit = status

    def write(self, data: bytes) -> None:
        """Append whole lines to the log; a full disk must not stop the command from being watched."""
        try:
            while data:
                data = data[os.write(self.log, data) :]
            self.log_broken = False
        except OSError as error:
            if not self.log_broken:
                self.log_broken = True
                self.tell(log_error=error.strerror)

    def read(self, out: int) -> bool:
        """Take what the command has printed into the log; False when its output is closed."""
        time.sleep(0.01)  # let lines gather: one wake-up for many
        data = os.read(out, _READ)
        now = time.monotonic()
        lines = self.folder.feed(data, now)
        if lines:
            self.write(lines)
        elif data and now - self.touched > 1:
            # A bar being redrawn adds no line, but it is a sign of life.
            self.touched = now
            with suppress(OSError):
                os.utime(self.log)
        return bool(data)

    def run(self) -> int:
        """Watch over the command to its end and that of all it started; returns an exit status."""
        wake, woken = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken)
        # Handlers, not SIG_IGN: what is ignored here would be ignored in the command too.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.stop(self.grace))
        try:
            out = self.start()
        except OSError as error:
            self.tell(error=f"{self.argv[0]}: {error.strerror}")
            return 127
        watched = [self.lifeline, out, wake]
        leftovers_until: float | None = None
        while True:
            self.reap()
            now = time.monotonic()
            if self.exit is not None:
                if not self.children and out not in watched:
                    if not procs.LINUX:
                        self.send(signal.SIGKILL)
                    break
                if not self.children:
                    # Only what lies in the pipe is left to read.
                    if not select.select([out], [], [], 0)[0] or not self.read(out):
                        watched.remove(out)
                    continue
                leftovers_until = leftovers_until or now + self.leftover
                if now >= leftovers_until:
                    self.stop(self.leftover)
            if self.kill_at is not None and now >= self.kill_at:
                self.send(signal.SIGKILL)
                time.sleep(0.02)
            ready, _, _ = select.select(watched, [], [], self.timeout(now, leftovers_until))
            if wake in ready:
                os.read(wake, 4096)
            if self.lifeline in ready:
                said = os.read(self.lifeline, 64)
                self.stop(0 if KILL in said else self.grace)
                if not said:
                    watched.remove(self.lifeline)
            if out in ready and not self.read(out):
                watched.remove(out)
        self.write(self.folder.finish())
        code = os.waitstatus_to_exitcode(self.exit)
        # KiB on Linux, bytes on macOS: of the largest process that has ended.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1024 if procs.LINUX else 1)
        self.tell(exit=code if code >= 0 else None, signal=-code if code < 0 else None, peak=peak)
        return code if code >= 0 else 128 - code

    def timeout(self, now: float, leftovers_until: float | None) -> float | None:
        """Seconds until something must be done though nothing happens; None: no such thing."""
        moments = [m for m in (self.kill_at, leftovers_until) if m is not None and m > now]
        if self.kill_at is not None and not moments:
            return 0.1
        return min(moments) - now if moments else None


def main(arguments: list[str]) -> int:
    """LIFELINE STATUS LOCK (file descriptors) LOG GRACE SECRETS (names, with commas) -- COMMAND…"""
    lifeline, status, lock, log, grace, secrets, dashes, *argv = arguments
    assert dashes == "--"
    assert argv
    return Supervisor(
        argv,
        lifeline=int(lifeline),
        status=int(status),
        lock=int(lock),
        log=log,
        grace=float(grace),
        secrets=[name for name in secrets.split(",") if name],
    ).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
