"""Reading a stage's log.txt."""

from __future__ import annotations

import re
from pathlib import Path

TAIL = 64 << 10
# The last line of a Python traceback: `torch.OutOfMemoryError: …`, under torchrun after `[rank0]:`.
ERROR = re.compile(
    r"^(?:\[rank\d+\]:\s*)?((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Failed)):"
    r"[ \t]*(?:\r?\n[ \t]*)?(\S.*)$",
    re.MULTILINE,
)
BAR = re.compile(r"\d+%\|.*\| *\d+/\d+ \[")
# What a parent process adds after the real cause.
WRAPPERS = ("ChildFailedError", "CalledProcessError", "SignalException")


def tail(path: Path, size: int = TAIL) -> str:
    """The last `size` bytes of a log as text; empty when there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - size))
            return stream.read().decode("utf-8", "replace")
    except OSError:
        return ""


def last_line(text: str) -> str:
    """The last line that is not empty, and no progress bar where there is another."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", text) if line.strip()]
    said = [line for line in lines if not BAR.search(line)]
    return (said or lines or [""])[-1]


def last_error(text: str) -> str | None:
    """The error that the last traceback ends with, or None."""
    errors = [m for m in ERROR.finditer(text) if not m[1].endswith(WRAPPERS)]
    if not errors:
        return None
    kind, said = errors[-1][1].rsplit(".", 1)[-1], errors[-1][2].strip()
    return said if kind == "ValueError" else f"{kind}: {said}"
