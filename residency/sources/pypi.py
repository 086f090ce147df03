"""Files of a distribution on the package index, fetched in a process of pip's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from residency.errors import Missing, StageFailed
from residency.sources.download import Tell

# residency's own folder, so that the child finds it wherever it is started.
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def fetch_distribution(
    name: str, version: str, kind: str | None, sha256: str | None, part: Path, tell: Tell
) -> dict[str, Any]:
    """Bring the wheel or sdist into `part`; no code of the distribution runs.

    Where the index has a file with that `sha256`, it is that one.

    Returns:
        `name` of the file, its `sha256` as the index gives it (or None), `bytes`, `resumed`.

    Raises:
        Missing: pip, the index, the distribution or the version is not there.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    paths = [str(_PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    child = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "residency.sources.pip_child",
            name,
            version,
            kind or "any",
            sha256 or "",
            str(part),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # pip names its indexes there, with passwords
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    last: dict[str, Any] = {}
    try:
        assert child.stdout is not None
        for line in child.stdout:
            try:
                last = json.loads(line)
            except ValueError:
                continue
            if "tell" in last:
                tell(str(last["tell"]))
        child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if "error" in last:
        raise (Missing if last.get("missing") else StageFailed)(last["error"], last.get("hint"))
    if child.returncode or "name" not in last:
        raise Missing(
            f"pip could not be used to fetch {name}=={version} (exit {child.returncode})",
            "pip must be in this environment: `python -m ensurepip`, or use a mirror",
        )
    return last
