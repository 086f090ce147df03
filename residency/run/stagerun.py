"""One stage's life: claimed, started, watched, verified."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from residency.engines.base import Progress, Verified
from residency.errors import ResidencyError, StageFailed
from residency.plan.model import PlannedStage
from residency.run import claim, environment, procs, stagefiles, state
from residency.run.executors.base import Executor, Exit, Running, Task
from residency.run.failures import explain, unexpected
from residency.run.logs import Follower, tail
from residency.run.metrics import FILE as METRICS
from residency.run.metrics import MetricsFile
from residency.run.redact import Redactor, secret_names
from residency.run.seen import snapshot
from residency.run.state import State
from residency.run.view import View

PROGRESS_SECONDS = 1.0
LOG_SECONDS = 0.2
SAVE_SECONDS = 5.0
"""How often a running stage's seconds are written down, lest SIGKILL lose them."""
_BUSY_SHARE = 20
"""Reading an engine's progress may take at most one part in so many of our time."""

Ended = Literal["done", "reused", "failed", "interrupted"]


@dataclass(slots=True)
class Context:
    """What all stages of a run share."""

    executor: Executor
    view: View
    redactor: Redactor
    environ: Mapping[str, str]
    run: str = ""
    """The run, `name/id`."""


class StageRun:
    """A stage that is being run. `start`, then `poll` until it gives an end."""

    def __init__(self, stage: PlannedStage, devices: Mapping[str, str], context: Context) -> None:
        self.stage = stage
        self.error: ResidencyError | None = None
        self.seconds = 0.0
        """Wall time of this attempt."""
        self.state: State | None = None
        self._context = context
        self._devices = devices
        self._claim: claim.Claim | None = None
        self._running: Running | None = None
        self._asked_to_stop = False
        self._stalled: str | None = None
        self._doomed: ResidencyError | None = None
        self._warned: set[str] = set()
        self._noticed = False
        self._earlier = 0.0
        self._last_progress = Progress()

    @property
    def folder(self) -> Path:
        """The stage's folder in the store."""
        return self.stage.folder

    # ---- start

    def start(self) -> Ended | None:
        """Claim the folder and start the command; gives an end at once when there is nothing to do."""
        view, stage = self._context.view, self.stage
        self._claim = claim.take(self.folder, stage.name, tell=lambda text: view.message(text, "warning"))
        previous = self._previous()
        if previous is not None and previous.status == "done":
            # Another launcher, or a like stage of this plan, has done it since the plan was made.
            self.state = previous
            self.release()
            return "reused"
        for part in self.folder.glob(".*.part"):
            part.unlink()  # a launcher was killed while it wrote
        env = environment.added(stage, self._devices, self._context.environ)
        stagefiles.write(self.folder, stage, env)
        try:
            resumed = stage.engine.resume(stage.job)
        except ResidencyError:
            raise
        except (OSError, MemoryError):
            raise
        except Exception as error:
            raise unexpected(stage, "while it made ready to resume", error) from error
        self.state = state.begin(stage, previous, resumed, self._context.run)
        self.state.save(self.folder)
        if resumed is None:
            # What an attempt logged whose work is lost is no part of the curve.
            (self.folder / METRICS).unlink(missing_ok=True)
        self._metrics = MetricsFile(self.folder / METRICS)
        log = self.folder / stagefiles.LOG
        self._log_start = self._head(log)
        self._follower = Follower(log, self._log_start)
        self._began = self._life = self._saved = time.monotonic()
        self._earlier = self.state.seconds
        self._next_progress = self._next_log = self._began
        self._last_log: object = None
        if resumed is not None and stage.engine.finished(stage.job):
            # Cut off between its last step and its verification: there is nothing left to run.
            self._take_metrics()
            try:
                self._accept(self._verify())
                return self._close("done")
            except ResidencyError as error:
                return self._fail(error)
        self._running = self._context.executor.start(self._task(env))
        return None

    def _previous(self) -> State | None:
        try:
            found = state.load(self.folder)
        except state.Unreadable as error:
            self._context.view.message(f"{error}; the stage is begun again", "warning")
            return None
        if found is None or found.fingerprint != self.stage.fingerprint:
            return None
        if found.status == "done" and (problem := state.damage(self.folder, found)):
            self._context.view.message(f"stage {self.stage.name} is done again: {problem}", "warning")
            return None
        return found

    def _head(self, log: Path) -> int:
        """Begin an attempt in the log; returns where what the command prints will start."""
        assert self.state is not None
        note = f", going on from {self.state.resumed_from}" if self.state.resumed_from else ""
        head = f"=== attempt {self.state.attempts}, {state.now()}{note} ===\n".encode()
        with log.open("ab+") as stream:
            end = stream.seek(0, os.SEEK_END)
            if end:
                stream.seek(end - 1)
                head = head if stream.read(1) == b"\n" else b"\n" + head
            stream.write(head)
            return end + len(head)

    def _task(self, added: Mapping[str, str]) -> Task:
        assert self._claim is not None
        env = environment.resolve(added, self._context.environ)
        env[procs.COOKIE] = self._claim.holder.cookie
        declared = {*self.stage.secrets, *environment.secrets_of(self.stage)}
        return Task(
            name=self.stage.name,
            argv=self.stage.launch.argv,
            env=env,
            secrets=tuple(secret_names(env, declared)),
            folder=self.folder,
            log=self.folder / stagefiles.LOG,
            lock=self._claim.fd,
        )

    def seen(self) -> dict[str, Any] | None:
        """What the run's record keeps of the stage; None before it has begun."""
        if self.state is None:
            return None
        if self._running is not None:
            self.state.seconds = round(self._earlier + self.seconds, 3)
        return snapshot(self.state, self._last_progress)

    # ---- watch

    def fileno(self) -> int | None:
        """A file to wait on for news of the command, or None."""
        return self._running.fileno() if self._running else None

    def poll(self) -> Ended | None:
        """Look after the running command; gives its end once it has come."""
        assert self._running is not None
        assert self.state is not None
        now = time.monotonic()
        self.seconds = now - self._began
        ended = self._running.poll()
        if self.state.pid is None and self._running.pid is not None:
            self.state.pid, self.state.pid_started = self._running.pid, self._running.pid_started
            self.state.save(self.folder)
        if ended is None:
            self._watch(now)
            return None
        self._running = None
        return self._finish(ended)

    def _watch(self, now: float) -> None:
        assert self._running is not None
        assert self.state is not None
        if now >= self._next_log:
            self._next_log = now + LOG_SECONDS
            self._follow(now)
        if now >= self._next_progress:
            self._report(now)
            spent = time.monotonic() - now
            self._next_progress = now + max(PROGRESS_SECONDS, _BUSY_SHARE * spent)
        if now - self._saved >= SAVE_SECONDS:
            self._saved = now
            self.state.seconds = self._earlier + self.seconds
            self.state.save(self.folder)
        if self._running.log_error:
            self._warn(f"the log of stage {self.stage.name} cannot be written: {self._running.log_error}")
        limit = self.stage.launch.stall_seconds
        if limit is not None and now - self._life > limit and not self._stalled and not self._asked_to_stop:
            self._stalled = f"stalled: it printed nothing and made no step for {limit:g} s, and was stopped"
            self._running.stop()

    def _follow(self, now: float) -> None:
        """Pass on the log's new lines, and note every sign of life."""
        try:
            found = os.stat(self.folder / stagefiles.LOG)
        except OSError:
            return
        mark = (found.st_size, found.st_mtime_ns)
        if mark != self._last_log:
            self._last_log, self._life = mark, now
            for line in self._follower.lines():
                self._context.view.line(self.stage.name, line)

    def _report(self, now: float) -> None:
        """Pass on the progress, and take over the metrics."""
        progress = self._guarded("progress", lambda: self.stage.engine.progress(self.stage.job))
        if progress is not None:
            if progress != self._last_progress:
                self._last_progress, self._life = progress, now
            self._context.view.progress(self.stage.name, progress, self.seconds)
            if progress.step and not self._noticed:
                self._noticed = True
                for text in self._guarded("notices", lambda: self.stage.engine.notices(self.stage.job)) or ():
                    self._warn(f"stage {self.stage.name}: {text}", text)
            for name, value in progress.metrics.items():
                if not math.isfinite(value):
                    at = f" at step {progress.step:,}" if progress.step else ""
                    self._warn(f"stage {self.stage.name}: {name} is not a number{at}", name)
        self._take_metrics()

    def _take_metrics(self) -> None:
        rows = self._guarded("metrics", lambda: list(self.stage.engine.metrics(self.stage.job)))
        if rows:
            self._metrics.update(rows)

    def _guarded(self, what: str, read: Callable[[], Any]) -> Any:
        """A fault in reading an engine's log must not end hours of training: warn once, go on."""
        try:
            return read()
        except Exception as error:
            self._warn(
                f"the {what} of stage {self.stage.name} cannot be read: {type(error).__name__}: {error}"
            )
            return None

    def told(self, text: str) -> bool:
        """Whether the user has had this warning while the stage ran."""
        return text in self._warned

    def _warn(self, text: str, about: str | None = None) -> None:
        """Say it once, or once about the same thing."""
        if (about or text) not in self._warned:
            self._warned.add(about or text)
            self._context.view.message(self._context.redactor.text(text), "warning")

    def stop(self) -> None:
        """Stop the command: SIGTERM, then SIGKILL after a grace. `poll` gives the end."""
        self._asked_to_stop = True
        if self._running is not None:
            self._running.stop()

    def doom(self, error: ResidencyError) -> None:
        """Stop the command, since it cannot end well: what it needs has failed."""
        if self._doomed is None and not self._asked_to_stop and self._running is not None:
            self._doomed = type(error)(f"stage {self.stage.name}: {error.message}", error.hint)
            self._running.stop()

    def kill(self) -> None:
        """Stop the command at once."""
        self._asked_to_stop = True
        if self._running is not None:
            self._running.kill()

    # ---- end

    def _finish(self, ended: Exit) -> Ended:
        assert self.state is not None
        for line in self._follower.lines(1 << 30):
            self._context.view.line(self.stage.name, line)
        self._take_metrics()
        self.state.exit = ended.number
        peaks = [peak for peak in (self.state.peak_memory, ended.peak_memory) if peak]
        self.state.peak_memory = max(peaks, default=None)
        if ended.code == 0 and not self._stalled:
            try:
                self._accept(self._verify())
                return self._close("done")
            except ResidencyError as error:
                if not self._asked_to_stop and self._doomed is None:
                    return self._fail(error)
        if self._asked_to_stop:
            return self._close("interrupted")
        if self._doomed is not None:
            return self._fail(self._doomed)
        log = self.folder / stagefiles.LOG
        return self._fail(explain(self.stage, ended, self._stalled, log, tail(log, self._log_start)))

    def _verify(self) -> Verified:
        """What the stage left. Raises StageFailed when the work was not done."""
        stage = self.stage
        try:
            found = stage.engine.verify(stage.job)
        except ResidencyError:
            raise
        except FileNotFoundError as error:
            what = f"stage {stage.name} ended without an error, but left no {error.filename}"
            raise StageFailed(what, f"its log: {self.folder / stagefiles.LOG}") from error
        except OSError:
            raise
        except Exception as error:
            raise unexpected(stage, "while its result was looked at", error) from error
        for name, output in stage.outputs.items():
            if name not in found.outputs and not (stage.job.outputs / output.path).exists():
                raise StageFailed(
                    f"stage {stage.name} ended without an error, but left no {name} ({output.path})",
                    f"its log: {self.folder / stagefiles.LOG}",
                )
        return found

    def _accept(self, found: Verified) -> None:
        assert self.state is not None
        folder, redact = self.folder, self._context.redactor
        outputs = {
            **{name: self.stage.job.outputs / output.path for name, output in self.stage.outputs.items()},
            **found.outputs,
        }
        self.state.outputs = {n: os.path.relpath(p, folder) for n, p in outputs.items()}
        self.state.files = state.sizes(folder, outputs.values())
        self.state.metrics = redact.tree(state.jsonable(found.metrics))
        self.state.warnings = [redact.text(text) for text in found.warnings]

    def _fail(self, error: ResidencyError) -> Ended:
        assert self.state is not None
        redact = self._context.redactor
        error.message = redact.text(error.message)
        error.hint = redact.text(error.hint) if error.hint else None
        error.args = (error.message,)
        self.error = error
        self.state.error = {"message": error.message, "hint": error.hint}
        return self._close("failed")

    def _close(self, status: Literal["done", "failed", "interrupted"]) -> Ended:
        assert self.state is not None
        self.seconds = time.monotonic() - self._began
        self.state.status = status
        self.state.ended = state.now()
        self.state.seconds = round(self._earlier + self.seconds, 3)
        self.state.pid = self.state.pid_started = None
        self.state.save(self.folder)
        self.release()
        return status

    def abandon(self, status: Literal["failed", "interrupted"], error: ResidencyError | None) -> None:
        """Leave the stage after a fault of ours: kill the command, note what can be noted."""
        if self._running is not None:
            self._running.kill()
            until = time.monotonic() + 10
            while self._running.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            self._running = None
        if self.state is not None and self.state.status == "running":
            self.state.status = status
            self.state.ended = state.now()
            if error is not None:
                self.state.error = {"message": error.message, "hint": error.hint}
            with suppress(OSError):  # a full disk may be what failed us
                self.state.save(self.folder)
        self.release()

    def release(self) -> None:
        """Give up the claim on the folder."""
        if self._claim is not None:
            self._claim.release()
            self._claim = None
