"""The main function of a command of our own: reads its stage's file, tells an error as the launcher does."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from residency.errors import EXIT_FAILED, ResidencyError

Run = Callable[[Mapping[str, Any], Path], object]
"""(what stage.yaml holds, the stage's folder)."""


def run_stage(arguments: Sequence[str], run: Run) -> int:
    """Run the stage that the file names; returns the exit code.

    Args:
        arguments: The command's: the path of stage.yaml.
        run: Does the work.
    """
    path = Path(arguments[0] if arguments else "stage.yaml").absolute()
    stage = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        run(stage, path.parent)
    except ResidencyError as error:
        return _told(error.message, error.hint, error.exit_code)
    except OSError as error:
        if error.strerror is None:
            raise
        full = error.errno == errno.ENOSPC
        hint = "make room on the disk and run the same command again" if full else None
        return _told(f"{error.strerror}: {error.filename}", hint, EXIT_FAILED)
    return 0


def _told(message: str, hint: str | None, code: int) -> int:
    print(f"error: {message}", flush=True)
    if hint:
        print(f"hint: {hint}", flush=True)
    return code
