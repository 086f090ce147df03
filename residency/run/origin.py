"""Where a run comes from: the code, the machine, the versions of all that is installed."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import residency
from residency.plan.machine import cpu_count

GIT_SECONDS = 5.0


def git(project: Path) -> dict[str, Any]:
    """`commit` and `dirty` of the project; both None where there is no repository or no git."""
    commit = _git(project, "rev-parse", "HEAD")
    changed = _git(project, "status", "--porcelain", "--untracked-files=no") if commit is not None else None
    return {"commit": commit or None, "dirty": None if changed is None else bool(changed)}


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_SECONDS,
            check=False,
            # Looking must not write the index of a repository that someone else is using.
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def versions() -> dict[str, str]:
    """Python, the project and every installed distribution → version.

    Read from the names of the metadata folders, as importlib.metadata finds them, without
    opening hundreds of files.
    """
    found: dict[str, str] = {}
    for folder in dict.fromkeys(path or "." for path in sys.path):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for entry in names:
            match = re.fullmatch(r"(.+?)-([^-]+?)(?:-py[\d.]+)?\.(?:dist|egg)-info", entry)
            if match:
                found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
    found.pop("residency", None)
    return {
        "python": platform.python_version(),
        "residency": residency.__version__,
        **dict(sorted(found.items())),
    }


def machine() -> dict[str, Any]:
    """The platform, without the machine's name."""
    # The driver's own files: nvidia-smi may take seconds.
    texts = [path.read_text() for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    gpus = [
        match[1].strip() for text in texts if (match := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))
    ]
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "cpus": cpu_count(),
        "gpus": gpus,
    }
