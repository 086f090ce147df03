"""How often a server is asked: a limit that all processes of this machine keep together.

A small file in the cache has the moment of the next free slot. Whoever wants to ask takes it under
a lock, moves it on by one interval, and sleeps until it has come. When a server asks to be left alone
(`Retry-After`), everybody waits.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

WITHOUT_KEY, WITH_KEY = 3.0, 10.0
"""Requests a second that NCBI allows."""
MARGIN = 1.05
"""Requests arrive less evenly than they are sent."""
_LONGEST = 900.0
"""Seconds; a slot further away than that was written under another clock."""


@dataclass(frozen=True)
class Limiter:
    """The limit of one server."""

    folder: Path
    """Shared by the processes."""
    host: str
    keyed: bool
    """With a key requests are counted by the key, without one by the machine."""
    per_second: float
    sleep: Callable[[float], None] = field(default=time.sleep, compare=False)

    @property
    def path(self) -> Path:
        """The file with the next slot; it never holds the key."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", self.host)
        return self.folder / f"{name}{'-key' if self.keyed else ''}.json"

    def wait(self) -> float:
        """Return when a request may be sent; the seconds that it took."""
        began = time.monotonic()
        interval = MARGIN / self.per_second
        slot = self._move(lambda slot, held: (max(slot, held) + interval, held))
        while True:
            now = time.time()
            if slot > now:
                self.sleep(slot - now)
            held = self._held()
            if held <= max(slot, time.time()):
                return time.monotonic() - began
            # Meanwhile the server asked to be left alone: take another slot, after that.
            slot = self._move(lambda slot, held: (max(slot, held) + interval, held))

    def hold(self, seconds: float) -> None:
        """Let nobody ask for so long."""
        until = time.time() + min(seconds, _LONGEST)
        self._move(lambda slot, held: (slot, max(held, until)))

    def _held(self) -> float:
        with self._locked() as handle:
            return _read(handle)[1]

    def _move(self, change: Callable[[float, float], tuple[float, float]]) -> float:
        """Change (next slot, held until) under the lock; the slot as it was found."""
        with self._locked() as handle:
            slot, held = _read(handle)
            slot = max(slot, time.time())
            new = change(slot, held)
            text = json.dumps({"next": new[0], "held": new[1]})
            os.pwrite(handle.fileno(), text.encode().ljust(128), 0)
            return max(slot, held)

    def _locked(self) -> _Locked:
        self.folder.mkdir(parents=True, exist_ok=True)
        return _Locked(self.path)


class _Locked:
    """A file under the kernel's lock, which ends with the process, however that ends."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def __enter__(self) -> _Locked:
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def fileno(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _read(handle: _Locked) -> tuple[float, float]:
    """(next slot, held until); the past where there is nothing sound."""
    try:
        found = json.loads(os.pread(handle.fileno(), 256, 0))
        slot, held = float(found["next"]), float(found["held"])
    except (ValueError, KeyError, TypeError):
        return 0.0, 0.0
    furthest = time.time() + _LONGEST
    return (slot if slot < furthest else 0.0), (held if held < furthest else 0.0)
