"""Shared-memory segments that a killed rollout engine leaves in /dev/shm."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FOLDER = Path("/dev/shm")
_PROC = Path("/proc")


def segments() -> frozenset[str]:
    """The names of this user's segments; empty where the system has no such folder."""
    try:
        return frozenset(
            e.name for e in os.scandir(FOLDER) if e.stat(follow_symlinks=False).st_uid == os.getuid()
        )
    except OSError:
        return frozenset()


def remove_since(before: frozenset[str]) -> list[str]:
    """Remove this user's segments that are not in `before` and that no process has mapped or open.

    Another program of the user's may have made some meanwhile: those are in use.
    """
    new = segments() - before
    if not new:
        return []
    used = _in_use()
    gone = []
    for name in sorted(new):
        if str(FOLDER / name) not in used:
            with suppress(OSError):
                (FOLDER / name).unlink()
                gone.append(name)
    return gone


def _in_use() -> set[str]:
    """Every path in /dev/shm that a process of this user has mapped or open."""
    found: set[str] = set()
    for entry in os.listdir(_PROC):
        if not entry.isdigit():
            continue
        with suppress(OSError):
            for line in (_PROC / entry / "maps").read_text(errors="replace").splitlines():
                at = line.find(str(FOLDER))
                if at >= 0:
                    found.add(line[at:].split(" (deleted)")[0])
        with suppress(OSError):
            for link in os.scandir(_PROC / entry / "fd"):
                with suppress(OSError):
                    found.add(os.readlink(link.path))
    return found
