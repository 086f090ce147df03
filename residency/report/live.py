"""The live view: every stage with its state and time, and how far the running one is."""

from __future__ import annotations

import atexit
import contextlib
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from residency.engines.base import Progress
from residency.report import figures, wording
from residency.report.terminal import Pace, counted

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from residency.plan.model import Plan

MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▸", "cyan"),
    "done": ("✓", "green"),
    "reused": ("↺", "green"),
    "failed": ("✗", "bold red"),
    "interrupted": ("■", "yellow"),
    "skipped": ("-", "dim"),
}
ASCII_MARKS = {"waiting": ".", "running": ">", "done": "+", "reused": "=", "failed": "x", "interrupted": "!"}
STYLES = {"info": "", "warning": "yellow", "error": "bold red"}
OVER = ("done", "reused", "skipped")


@dataclass(slots=True)
class _Row:
    name: str
    status: str = "waiting"
    note: str = ""
    started: float | None = None
    took: float | None = None
    progress: Progress = field(default_factory=Progress)
    elapsed: float = 0.0
    seen: float = 0.0
    pace: Pace = field(default_factory=Pace)
    last_line: str = ""


class LiveView:
    """Redraws its lines in place, four times a second; what was said above them stays."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        from rich.console import Console

        self.console = console or Console(file=stream or sys.stdout, highlight=False)
        self._clock = clock
        self._rows: dict[str, _Row] = {}
        self._title = ""
        self._place = ""
        self._services: dict[str, tuple[str, str]] = {}
        """Service → its status, and what there is to say of it."""
        self._live: Any = None
        self._ended = False
        self._lock = threading.RLock()
        self._ascii = not (self.console.encoding or "utf-8").lower().startswith("utf")

    def begin(self, plan: Plan, run_dir: Path) -> None:
        """Show all stages as waiting."""
        from rich.live import Live

        self._title = plan.recipe.name
        self._place = str(run_dir)
        with contextlib.suppress(ValueError):
            self._place = str(run_dir.relative_to(Path.cwd()))
        self._rows = {stage.name: _Row(stage.name) for stage in plan.stages}
        self._live = Live(self, console=self.console, refresh_per_second=4, transient=False)
        # After an exception that nobody turned into `end`, the cursor must still come back.
        atexit.register(self._stop)
        self._guarded(self._live.start)

    def stage(self, name: str, status: str, note: str = "") -> None:
        """A stage has another state."""
        with self._lock:
            row = self._rows.setdefault(name, _Row(name))
            now = self._clock()
            if status == "running":
                row.started, row.pace, row.progress, row.last_line = now, Pace(), Progress(), ""
            elif row.started is not None and row.status == "running":
                row.took = now - row.started
            row.status, row.note = status, wording.clean(note).replace("\n", " ")
        self._refresh()

    def service(self, name: str, status: str, note: str = "") -> None:
        """A service has another state."""
        with self._lock:
            self._services[name] = (status, wording.clean(note).replace("\n", " "))
        self._refresh()

    def progress(self, name: str, progress: Progress, elapsed: float) -> None:
        """How far a stage is."""
        with self._lock:
            row = self._rows.setdefault(name, _Row(name))
            row.progress, row.elapsed, row.seen = progress, elapsed, self._clock()
            row.pace.add(elapsed, progress.step)

    def line(self, name: str, text: str) -> None:
        """The last line of the log shows while there is no step to count."""
        shown = wording.clean(text).strip()
        if shown and name in self._rows:
            self._rows[name].last_line = shown.splitlines()[-1]

    def message(self, text: str, style: str = "info") -> None:
        """Say something above the stages."""
        from rich.text import Text

        prefix = "" if style == "info" else f"{style}: "
        said = Text(prefix + wording.clean(text), style=STYLES.get(style, ""))
        self._guarded(lambda: self.console.print(said))

    def end(self, status: str, seconds: float) -> None:
        """Leave the stages as they ended, and the cursor below them."""
        with self._lock:
            for row in self._rows.values():
                if row.status == "running":
                    row.status = "interrupted" if status == "interrupted" else status
                    row.took = self._clock() - (row.started or self._clock())
            self._ended = True
        self._stop()
        from rich.text import Text

        style = {"done": "green", "failed": "bold red", "interrupted": "yellow"}.get(status, "")
        said = Text(f"{self._title} {status} in {wording.duration(seconds)}", style=style)
        self._guarded(lambda: self.console.print(said))

    def _stop(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            atexit.unregister(self._stop)
            self._guarded(live.stop)

    def _refresh(self) -> None:
        if self._live is not None:
            self._guarded(self._live.refresh)

    def _guarded(self, act: Callable[[], Any]) -> None:
        """The terminal may go away; the run goes on."""
        with contextlib.suppress(OSError, ValueError):
            act()

    # How it looks.

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines, none wider than the terminal, no more of them than it is high."""
        with self._lock:
            # What stays in the terminal at the end is whole, however long.
            height = 1_000_000 if self._ended else max(4, console.size.height - 1)
            lines = self.lines(options.max_width, height)
        yield from lines

    def lines(self, width: int, height: int) -> list[Text]:
        """The lines for a terminal of that size."""
        made = [self._title_line(), *self._service_lines()[: max(0, height // 3)]]
        made += self._stage_lines(width, height - len(made))
        for line in made:
            line.no_wrap = True
            line.truncate(width, overflow="ellipsis")
        return made[:height]

    def _title_line(self) -> Text:
        from rich.text import Text

        return Text.assemble((self._title, "bold"), "  ", (self._place, "dim"))

    def _service_lines(self) -> list[Text]:
        """The services that run, or have failed; those that are over take no room."""
        from rich.text import Text

        room = max(map(len, self._services), default=0)
        styles = {"ready": "green", "failed": "bold red", "restarting": "yellow"}
        return [
            Text.assemble(
                " ~ " if self._ascii else " ⇄ ",
                f"{name:<{room}}",
                (f"  service {status}", styles.get(status, "dim")),
                (f"  {note}" if note else "", "dim"),
            )
            for name, (status, note) in self._services.items()
            if not (self._ended and status == "stopped")
        ]

    def _stage_lines(self, width: int, height: int) -> list[Text]:
        """Each stage; where they are too many, those that are over or wait are put together."""
        from rich.text import Text

        rows = list(self._rows.values())
        blocks = [self._block(row, width) for row in rows]
        if sum(map(len, blocks)) <= height:
            return [line for block in blocks for line in block]
        busy = [i for i, row in enumerate(rows) if row.status not in (*OVER, "waiting")]
        over = sum(row.status in OVER for row in rows)
        waiting = sum(row.status == "waiting" for row in rows)
        middle = [line for i in busy for line in blocks[i]]
        after = [i for i, row in enumerate(rows) if row.status == "waiting"]
        room = height - len(middle) - (over > 0) - (waiting > 0)
        shown = after[: max(room, 0)]
        lines = [Text(f" {self._mark('done')} {over} over", style="green")] if over else []
        lines += middle + [line for i in shown for line in blocks[i]]
        hidden = waiting - len(shown)
        return lines + ([Text(f" {self._mark('waiting')} {hidden} more wait", style="dim")] if hidden else [])

    def _mark(self, status: str) -> str:
        return ASCII_MARKS.get(status, "-") if self._ascii else MARKS.get(status, ("?", ""))[0]

    def _block(self, row: _Row, width: int) -> list[Text]:
        from rich.text import Text

        style = MARKS.get(row.status, ("?", ""))[1]
        room = min(max((len(name) for name in self._rows), default=0), max(8, width // 3))
        name = row.name if len(row.name) <= room else row.name[: room - 1] + "…"
        running = row.status == "running" and row.started is not None
        took = self._clock() - row.started if running and row.started is not None else row.took
        head = Text.assemble(
            (f" {self._mark(row.status)} ", style),
            (f"{name:<{room}}", "bold" if running else "dim" if row.status == "waiting" else ""),
            (f"  {row.status:<11}", style),
            f"{wording.duration(took):>8}",
        )
        below = []
        style = "red" if row.status == "failed" else "dim"
        if row.note and len(head) + 18 <= width:
            head.append(f"  {row.note}", style=style)
        elif row.status in ("failed", "interrupted"):
            # Why it ended must be read; any other note can go where there is no room.
            below = list(Text(row.note, style=style).wrap(self.console, max(8, width - 3)))
            below = [Text("   ").append_text(line) for line in below]
        return [head, *self._progress_lines(row, width)] if running else [head, *below]

    def _progress_lines(self, row: _Row, width: int) -> list[Text]:
        from rich.text import Text

        progress = row.progress
        if progress.step is None:
            said = progress.message or row.last_line
            return [Text(f"   {said}", style="dim")] if said else []
        elapsed = row.elapsed + (self._clock() - row.seen)
        left = row.pace.left(elapsed, progress.total)
        parts = [counted(progress)]
        if width < 60:
            parts = [parts[0].split(" ")[0]]
        elif row.pace.rate:
            parts.append(wording.rate(row.pace.rate, progress.unit))
        if left is not None and progress.total and progress.step < progress.total:
            parts.append(f"{wording.duration(left)} left")
        words = " · ".join(parts)
        made = Text("   ")
        if progress.total:
            size = max(8, min(40, width - len(words) - 6))
            made.append_text(self._bar(progress.step / progress.total, size)).append("  ")
        lines = [made.append(words)]
        told = figures.packed(figures.said(progress.metrics, 2 if width < 60 else 4), width - 3)
        lines += [Text(f"   {line}") for line in told[: 1 if width < 60 else 2]]
        if progress.message and progress.step == progress.total:
            # Its steps are done, and it still works: it writes the model, say.
            lines.append(Text(f"   {progress.message}", style="dim"))
        return lines

    def _bar(self, share: float, size: int) -> Text:
        from rich.text import Text

        halves = round(max(0.0, min(1.0, share)) * size * 2)
        full, half = divmod(halves, 2)
        if self._ascii:
            return Text("#" * full + "-" * (size - full))
        done = "━" * full + "╸" * half
        return Text.assemble((done, "cyan"), ("─" * (size - len(done)), "dim"))
