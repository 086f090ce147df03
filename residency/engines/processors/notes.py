"""What a data stage says while it works: lines for the log, a file for the live view."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from residency.files import write_json

EVERY_SECONDS = 0.5


@dataclass
class Notes:
    """Says things, not too often."""

    folder: Path
    _last: float = field(default=0.0, init=False)

    def say(self, text: str) -> None:
        """A line of the log."""
        print(text, flush=True)

    def progress(
        self, message: str, step: int | None = None, total: int | None = None, *, force: bool = False
    ) -> None:
        """Where it is; written at most twice a second."""
        now = time.monotonic()
        if force or now - self._last >= EVERY_SECONDS:
            self._last = now
            write_json(self.folder / "progress.json", {"message": message, "step": step, "total": total})
