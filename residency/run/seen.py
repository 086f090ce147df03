"""What a run saw of a stage, when a later run has gone on with it since.

A stage's folder lies in the store, and its state.json says what holds now. So run.json keeps,
for each stage, what held when this run looked last: after a kill it is a few seconds old.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from residency.engines.base import Progress
from residency.run.state import State

_NOT_KEPT = ("parts", "files", "fingerprint", "pid", "pid_started", "kind", "key", "name")
_VERBS = {"done": "finished later", "failed": "failed later", "interrupted": "gone on with later"}


def snapshot(state: State, progress: Progress) -> dict[str, Any]:
    """What run.json keeps of a stage: most of its state, with `step` and `total`."""
    kept = {key: value for key, value in asdict(state).items() if key not in _NOT_KEPT}
    return {**kept, "step": progress.step, "total": progress.total}


def as_seen(
    saw: Mapping[str, Any] | None, current: Mapping[str, Any], run: str
) -> tuple[dict[str, Any], str]:
    """A stage's state as a run saw it, and what has become of it since.

    Args:
        saw: The run's snapshot; None in a run of before there were any, or for a stage that it
            found finished.
        current: state.json as it is now.
        run: The run, `name/id`.

    Returns:
        The state, with `step` where another run went on; and `finished later by NAME/ID` or the
        like, empty when this run's is the last word.
    """
    last = current.get("run")
    if not saw or not last or last == run:
        return dict(current), ""
    status = "interrupted" if saw.get("status") == "running" else saw.get("status")
    verb = _VERBS.get(str(current.get("status")), "gone on with")
    return {**current, **saw, "status": status}, f"{verb} by {last}"


def attempt_end(log: Path, attempt: int) -> int | None:
    """The byte at which the attempt after `attempt` begins in a log; None when there is none."""
    try:
        with log.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
            found = text.find(f"\n=== attempt {attempt + 1}, ".encode())
    except (OSError, ValueError):  # an empty file cannot be mapped
        return None
    return found + 1 if found >= 0 else None
