"""The environments of engines that cannot share the launcher's: `.venvs/NAME`, made by `launch.py setup`.

`.venvs/NAME` is a link to the folder that holds the environment; it is put there when all of it is
installed, so that one that is there is whole.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from residency.files import read_json
from residency.paths import PROJECT

RECORD = "residency.json"
"""In an environment: what it was made from, and the versions that it holds."""


def root() -> Path:
    """The folder of all environments: `RESIDENCY_VENVS`, or `.venvs/` in the project."""
    return Path(os.environ.get("RESIDENCY_VENVS") or PROJECT / ".venvs").expanduser().absolute()


def folder(name: str) -> Path:
    """Where the environment of that name is, or would be."""
    return root() / name


def record(name: str) -> dict[str, Any] | None:
    """What is written down of an environment; None where there is none."""
    try:
        found = read_json(folder(name) / RECORD)
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def python(name: str) -> Path | None:
    """The Python of an environment, or None where there is none."""
    path = folder(name) / "bin" / "python"
    return path if record(name) is not None and path.exists() else None


def version(distribution: str, name: str) -> str | None:
    """A distribution's version in an environment of its own, else in the launcher's; None: in neither."""
    versions = (record(name) or {}).get("versions")
    if isinstance(versions, dict) and distribution in versions and python(name):
        return str(versions[distribution])
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def interpreter(distribution: str, name: str) -> str:
    """The Python that runs an engine: its own environment's, else the launcher's."""
    versions = (record(name) or {}).get("versions")
    own = python(name)
    if own is not None and isinstance(versions, dict) and distribution in versions:
        return str(own)
    return sys.executable
