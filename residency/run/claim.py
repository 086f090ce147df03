"""One stage folder, one writer: a lock that the launcher, its supervisor and its engine hold together.

The lock is an flock on `.lock`. It is the launcher's, and is inherited by what it starts: it is
free only when the last of them has gone, also after SIGKILL. Who took it stands in the file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from residency.errors import ResidencyError
from residency.run import procs, state

FILE = ".lock"
PATIENCE = 15.0
"""Seconds that a dead launcher's processes have to end, before they are killed: more than their grace."""
_AFTER_KILL = 5.0
_NO_FLOCK = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class Busy(ResidencyError):
    """Another launcher is at work on the stage."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a stage's folder."""

    pid: int
    """The launcher."""
    pid_started: str | None
    host: str
    since: str
    cookie: str
    """The mark that every process of this attempt has in its environment."""

    @property
    def here(self) -> bool:
        """Whether it is (or was) on this machine."""
        return self.host == socket.gethostname()

    @property
    def alive(self) -> bool:
        """Whether the launcher still runs; one on another machine is taken to."""
        return not self.here or procs.alive(self.pid, self.pid_started)


def read_holder(folder: Path) -> Holder | None:
    """Who took the folder last and has not given it back, or None."""
    try:
        raw: Any = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return Holder(**raw)
    except (OSError, ValueError, TypeError):
        return None


def is_held(folder: Path) -> bool:
    """Whether a living launcher holds the folder; takes no lock."""
    holder = read_holder(folder)
    return holder is not None and holder.alive


class Claim:
    """The folder of a stage, held until `release`."""

    def __init__(self, folder: Path, fd: int, holder: Holder) -> None:
        self.folder = folder
        self.fd = fd
        """Passed on to what the stage starts."""
        self.holder = holder

    def release(self) -> None:
        """Give the folder back. What was started has ended by now."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self.fd, 0)
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.release()


def take(
    folder: Path, name: str, *, patience: float = PATIENCE, tell: Callable[[str], None] = lambda _: None
) -> Claim:
    """Claim the folder of the stage `name`, making it where it is not there.

    If the launcher that held it has died and what it started is still ending, wait for that up
    to `patience` seconds, then kill exactly those processes; `tell` hears of it. Raises Busy when
    another launcher is alive, or holds it from another machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience
    seen: list[Holder] = []
    told = killed = False
    while True:
        fd = _lock(folder)
        if fd is not None:
            return _record(folder, fd)
        holder = read_holder(folder)
        if holder is not None and holder.alive:
            # Once more a moment later: it may have been about to write its own name.
            if holder in seen:
                raise _busy(name, folder, holder)
            seen.append(holder)
            time.sleep(0.2)
            continue
        if not told:
            told = True
            tell(f"stage {name}: waiting for the processes of an earlier launcher, which was killed, to end")
        if time.monotonic() > deadline:
            if killed:
                raise Busy(
                    f"stage {name} is held by a process that cannot be told or stopped from here",
                    f"see who has {folder / FILE} open, stop it, and start again",
                )
            _kill_remains(folder, holder)
            killed, deadline = True, time.monotonic() + _AFTER_KILL
        time.sleep(0.05)


def _lock(folder: Path) -> int | None:
    """An open, locked `.lock`, or None when someone has it."""
    path = folder / FILE
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            if os.fstat(fd).st_ino == path.stat().st_ino:
                return fd
    except BlockingIOError:
        pass
    except OSError as error:
        # Some network file systems know no flock; there the name in the file must do.
        if error.errno not in _NO_FLOCK:
            os.close(fd)
            raise
        holder = read_holder(folder)
        if holder is None or not holder.alive:
            return fd
    os.close(fd)
    return None


def _record(folder: Path, fd: int) -> Claim:
    pid = os.getpid()
    holder = Holder(pid, procs.started(pid), socket.gethostname(), state.now(), secrets.token_hex(16))
    os.ftruncate(fd, 0)
    os.pwrite(fd, json.dumps(asdict(holder)).encode(), 0)
    return Claim(folder, fd, holder)


def _busy(name: str, folder: Path, holder: Holder) -> Busy:
    began = state.moment(holder.since)
    since = f"{began.astimezone():%Y-%m-%d %H:%M:%S}" if began else holder.since
    where = "" if holder.here else f" on {holder.host}"
    return Busy(
        f"stage {name} is being run by process {holder.pid}{where} since {since} ({folder})",
        f"wait for it to end, or stop it: kill {holder.pid}"
        if holder.here
        else "wait for it, or stop it there",
    )


def _kill_remains(folder: Path, holder: Holder | None) -> None:
    """Kill what a dead launcher started: its recorded process group, and all that bear its mark."""
    if holder is not None and not holder.here:
        return
    with contextlib.suppress(state.Unreadable):
        last = state.load(folder)
        if last is not None and last.pid is not None and last.pid_started is not None:
            procs.kill_group(last.pid, last.pid_started)
    if holder is not None:
        procs.send(procs.of_attempt(holder.cookie), signal.SIGKILL)
