"""What this machine has."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Memory(NamedTuple):
    """Bytes of main memory."""

    free: int
    """What programs can still take, caches of files included."""
    total: int


def memory() -> Memory | None:
    """The machine's memory, or None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = {
            name: int(rest.split()[0]) << 10 for name, _, rest in (line.partition(":") for line in lines)
        }
        return Memory(found["MemAvailable"], found["MemTotal"])
    except (OSError, ValueError, IndexError, KeyError):
        return None
