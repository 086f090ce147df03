"""What the terminal shows of a run while it goes on: a live view, or plain lines.

Both are told by the launcher through the same methods (`residency.run.view.View`). Neither can
stop a run: when the terminal or the pipe goes away they fall silent.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from residency.engines.base import Progress
from residency.report import figures, wording

if TYPE_CHECKING:
    from residency.plan.model import Plan
    from residency.report.live import LiveView

WIDTH = 80
"""Columns of a plain line of progress; what does not fit goes on the next."""


class Pace:
    """How fast a stage goes, from when its steps were seen: a resumed one does not start at step 0."""

    WINDOW = 30
    """Steps of the launcher's clock that count; older ones are forgotten."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque(maxlen=self.WINDOW)

    def add(self, elapsed: float, step: int | None) -> None:
        """The stage is at `step` after `elapsed` seconds."""
        if step is None:
            return
        if self._seen and step < self._seen[-1][1]:
            # Another count has begun (a second epoch's evaluation, say).
            self._seen.clear()
        if not self._seen or step > self._seen[-1][1]:
            self._seen.append((elapsed, step))

    @property
    def rate(self) -> float | None:
        """Steps a second, or None before two have been seen."""
        if len(self._seen) < 2:
            return None
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start else None

    def left(self, elapsed: float, total: int | None) -> float | None:
        """Seconds to the last step, or None when that is not known."""
        if total is None or self.rate is None:
            return None
        at, step = self._seen[-1]
        return max(0.0, (total - step) / self.rate - (elapsed - at))


def counted(progress: Progress) -> str:
    """`42/100 steps`, `42 steps`, or nothing when there is no step."""
    if progress.step is None:
        return ""
    if progress.total:
        return f"{progress.step:,}/{progress.total:,} {progress.unit}s"
    return wording.plural(progress.step, progress.unit)


class PlainView:
    """One line per change of state, and a line of progress every 10 s or 5 %, whichever is later.

    A stage whose steps go on is heard of every minute, however small their share.
    Each line has the time and the stage in brackets: `grep '\\[sft\\]'` finds a stage's lines.
    """

    SECONDS = 10.0
    SHARE = 0.05
    LONGEST = 60.0
    """Seconds after which any step is worth a line."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._started: dict[str, float] = {}
        self._said: dict[str, tuple[float, float, int | None]] = {}
        """Stage → when a line was written last, the share and the step at the time."""
        self._paces: dict[str, Pace] = {}

    def _write(self, text: str) -> None:
        stream = self._stream or sys.stdout
        line = f"{time.strftime('%H:%M:%S')} {wording.clean(text)}\n"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        try:
            stream.write(line.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except (OSError, ValueError):
            # The reader went away; the run goes on.
            self._write = lambda text: None  # type: ignore[method-assign]

    def begin(self, plan: Plan, run_dir: Path) -> None:
        """Name the run and its stages."""
        names = ", ".join(stage.name for stage in plan.stages)
        self._write(f"run {plan.recipe.name} in {run_dir}")
        self._write(f"{wording.plural(len(plan.stages), 'stage')}: {names}")

    def stage(self, name: str, status: str, note: str = "") -> None:
        """One line; that a stage waits is not worth one."""
        took = ""
        if status == "running":
            self._started[name] = self._clock()
            self._paces[name] = Pace()
            self._said.pop(name, None)
        elif name in self._started:
            took = f" after {wording.duration(self._clock() - self._started.pop(name))}"
        if status != "waiting":
            self._write(f"[{name}] {status}{took}{': ' + note if note else ''}")

    def service(self, name: str, status: str, note: str = "") -> None:
        """One line for each change."""
        self._write(f"[service {name}] {status}{': ' + note if note else ''}")

    def progress(self, name: str, progress: Progress, elapsed: float) -> None:
        """A line when enough time has gone by and enough has been done."""
        pace = self._paces.setdefault(name, Pace())
        pace.add(elapsed, progress.step)
        share = (progress.step or 0) / progress.total if progress.total else 0.0
        now = self._clock()
        if name not in self._said:
            self._said[name] = (now, share, progress.step)
            return
        then, before, step = self._said[name]
        ended = share >= 1 > before
        little = progress.total and share - before < self.SHARE
        if little and now - then >= self.LONGEST and progress.step != step:
            little = False
        if not ended and (now - then < self.SECONDS or little):
            return
        first, *more = figures.said(progress.metrics) or [""]
        parts = [counted(progress) or progress.message]
        if progress.total:
            parts[0] += f" ({share:.0%})" if share >= 0.01 else f" ({share:.1%})"
        parts.append(first)
        if pace.rate:
            parts.append(wording.rate(pace.rate, progress.unit))
        left = pace.left(elapsed, progress.total)
        if left is not None and not ended:
            parts.append(f"{wording.duration(left)} left")
        head = f"[{name}] "
        lines = figures.packed(
            [part for part in (*parts, *more) if part], WIDTH - len("00:00:00 ") - len(head)
        )
        if lines:
            self._said[name] = (now, share, progress.step)
        for said in lines:
            self._write(head + said)

    def line(self, name: str, text: str) -> None:
        """Nothing: the stage's log.txt holds it."""

    def message(self, text: str, style: str = "info") -> None:
        """The message, marked when it is a warning or an error."""
        self._write(text if style == "info" else f"{style}: {text}")

    def end(self, status: str, seconds: float) -> None:
        """How the run ended."""
        self._write(f"run {status} in {wording.duration(seconds)}")


def wants_plain(stream: TextIO) -> bool:
    """True where the live view cannot or should not be shown."""
    terminal = bool(getattr(stream, "isatty", lambda: False)())
    return not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") == "dumb"


def make_view(stream: TextIO | None = None, plain: bool | None = None) -> PlainView | LiveView:
    """The view for a stream (standard output): live on a terminal, plain lines elsewhere.

    `NO_COLOR` and `TERM=dumb` give plain lines; `plain` decides where it is given.
    """
    if plain if plain is not None else wants_plain(stream or sys.stdout):
        return PlainView(stream)
    from residency.report.live import LiveView

    return LiveView(stream)
