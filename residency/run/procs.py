"""Processes by identity: a pid alone may have been given to someone else since.

Standard library only; the supervisor, which must start in a few milliseconds, uses it too.
On Linux everything is read from /proc, on macOS from `ps`.
"""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

COOKIE = "RESIDENCY_ATTEMPT"
"""Environment variable that marks every process of one attempt at a stage, however deep it forks."""

LINUX = sys.platform.startswith("linux")
_PROC = Path("/proc")


@functools.cache
def _boot() -> str:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip()[:8]
    except OSError:
        return ""


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the command name: state, ppid, pgrp, session, …"""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def started(pid: int) -> str | None:
    """A mark of when `pid` began, different for each process that ever bore the number.

    None when there is no such process, or only its zombie.
    """
    if LINUX:
        fields = _stat(pid)
        if fields is None or fields[0] in "ZX":
            return None
        return f"{_boot()}-{fields[19]}"
    found = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, when = found.stdout.strip().partition(" ")
    return when.strip() if when and not state.startswith("Z") else None


def alive(pid: int | None, mark: str | None) -> bool:
    """Whether the process with that pid and that mark is still running."""
    return pid is not None and mark is not None and started(pid) == mark


def _parents() -> dict[int, int]:
    """Every process → its parent."""
    if LINUX:
        found = {}
        for entry in os.listdir(_PROC):
            if entry.isdigit() and (fields := _stat(int(entry))) is not None and fields[0] not in "ZX":
                found[int(entry)] = int(fields[1])
        return found
    text = subprocess.run(["ps", "-axo", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
    pairs = (line.split() for line in text.splitlines())
    return {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2}


def descendants(pid: int) -> list[int]:
    """The living processes below `pid`, children first."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents().items():
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    layer = [pid]
    while layer:
        layer = [child for parent in layer for child in children.get(parent, ())]
        found += layer
    return found


def of_attempt(cookie: str) -> list[int]:
    """The living processes that carry the attempt's mark in their environment (Linux; else none)."""
    if not LINUX or not cookie:
        return []
    wanted = f"{COOKIE}={cookie}".encode()
    found = []
    for entry in os.listdir(_PROC):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with suppress(OSError):
            if wanted in (_PROC / entry / "environ").read_bytes().split(b"\0") and started(int(entry)):
                found.append(int(entry))
    return found


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each; those already gone are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def group_is_ours(pid: int, mark: str) -> bool:
    """Whether the process group led by `pid` is still the one that began at `mark`.

    While a group has a member its number is given to no new process, so a group whose leader
    has gone, but whose members still stand in the session that it opened, is the old one.
    """
    now = started(pid)
    if now is not None:
        return now == mark
    if not LINUX:
        return False
    members = (_stat(int(entry)) for entry in os.listdir(_PROC) if entry.isdigit())
    return any(f is not None and f[0] not in "ZX" and f[2] == f[3] == str(pid) for f in members)


def kill_group(pid: int, mark: str) -> bool:
    """SIGKILL the process group led by `pid`, if it is still the one that began at `mark`."""
    if pid <= 1 or pid == os.getpgrp() or not group_is_ours(pid, mark):
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
        return True
    return False
