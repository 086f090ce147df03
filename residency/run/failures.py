"""Why a stage failed, in a sentence, with what to do."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path

from residency.errors import (
    EXIT_MISSING,
    EXIT_RECIPE,
    Missing,
    RecipeInvalid,
    ResidencyError,
    StageFailed,
)
from residency.plan.model import PlannedStage
from residency.run.executors.base import Exit

SHOWN_LINES = 12
"""Last lines of the log that a failure shows."""

_SAID = re.compile(r"^error: ", re.MULTILINE)
_FULL = os.strerror(errno.ENOSPC)
_DISK = {
    errno.ENOSPC: (
        "the disk is full",
        "free some space, then give the same command: it goes on where it stopped",
    ),
    errno.EDQUOT: (
        "the disk quota is used up",
        "free some space, then give the same command: it goes on where it stopped",
    ),
    errno.EACCES: ("permission denied", "make it writable, or choose another folder with RESIDENCY_RUNS=DIR"),
    errno.EPERM: ("permission denied", "make it writable, or choose another folder with RESIDENCY_RUNS=DIR"),
    errno.EROFS: ("the file system is read-only", "choose another folder with RESIDENCY_RUNS=DIR"),
}


def explain(stage: PlannedStage, ended: Exit, stalled: str | None, log: Path, text: str) -> ResidencyError:
    """The error for a command that ended badly; `text` is the end of its log."""
    hint: str | None = None
    if stalled:
        what = stalled
        hint = "the last lines of its log say where; the same command goes on from its last checkpoint"
    elif ended.error and ended.code is None and ended.signal is None:
        what = f"could not be run: {ended.error}"
        hint = f"see {log.parent / 'command.txt'}"
    elif ended.signal is not None:
        what = f"was ended by {_signal(ended.signal)}"
        if ended.signal == signal.SIGKILL:
            hint = "most often the system does that when memory runs out: smaller batches, or see dmesg"
        elif ended.signal in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE):
            hint = "a compiled library crashed: look at the versions of torch and the GPU driver"
    else:
        said: str
        try:
            said, hint = stage.engine.explain_failure(stage.job, text)
        except Exception as error:
            said = f"(its log could not be explained: {type(error).__name__}: {error})"
        if _FULL in text[-4000:]:
            said, hint = _DISK[errno.ENOSPC]
        if stage.engine.exits_as_launcher and _SAID.search(text):
            # It has said all there is to say, for people to read.
            kind = {EXIT_RECIPE: RecipeInvalid, EXIT_MISSING: Missing}.get(ended.code or 0, StageFailed)
            return kind(f"stage {stage.name}: {said}", "\n".join(filter(None, (hint, f"its log: {log}"))))
        what = f"failed with exit status {ended.code}: {said}"
    return StageFailed(f"stage {stage.name} {what}", _with_log(hint, log, text))


def unexpected(stage: PlannedStage, when: str, error: Exception) -> StageFailed:
    """The error for a fault in the engine's own part of the launcher."""
    return StageFailed(
        f"stage {stage.name}: {stage.engine.name} failed {when}: {type(error).__name__}: {error}",
        f"its folder: {stage.folder}",
    )


def from_os(error: OSError, doing: str) -> ResidencyError:
    """A file that could not be read or written, as an error with what to do."""
    what, hint = _DISK.get(error.errno or 0, (error.strerror or str(error), None))
    where = f" ({error.filename})" if error.filename else ""
    return StageFailed(f"{doing}: {what}{where}", hint)


def _signal(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def _with_log(hint: str | None, log: Path, text: str) -> str:
    lines = [line.rstrip() for line in text.splitlines() if line.strip()][-SHOWN_LINES:]
    shown = "".join(f"\n    {line[:300]}" for line in lines)
    first = f"{hint}\n" if hint else ""
    return f"{first}its log: {log}" + (f", which ends:{shown}" if shown else " (empty)")
