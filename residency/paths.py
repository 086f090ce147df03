"""Where things lie: the project, the runs, the downloads."""

from __future__ import annotations

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
"""The folder of launch.py."""


def runs_dir() -> Path:
    """The folder of all runs: `RESIDENCY_RUNS`, or `runs/` in the project."""
    return Path(os.environ.get("RESIDENCY_RUNS") or PROJECT / "runs").expanduser().absolute()


def cache_dir() -> Path:
    """The folder of downloads, shared by all runs: `RESIDENCY_CACHE`, or the user's cache folder."""
    given = os.environ.get("RESIDENCY_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return (Path(base) / "residency").expanduser().absolute()


def mirror_dir() -> Path | None:
    """The mirror (`RESIDENCY_MIRROR`), or None. With one, nothing is fetched from the network."""
    given = os.environ.get("RESIDENCY_MIRROR")
    return Path(given).expanduser().absolute() if given else None
