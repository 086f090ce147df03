"""One service's life: started, waited for, started again when it dies, stopped."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from residency.engines import serving
from residency.engines.base import Job, Launch
from residency.errors import EXIT_MISSING, EXIT_RECIPE, Missing, RecipeInvalid, ResidencyError, StageFailed
from residency.plan.model import PlannedService
from residency.plan.services import filled
from residency.recipe.model import Recipe
from residency.run import environment, health, procs, stagefiles, state
from residency.run.executors.base import Exit, Running, Task
from residency.run.logs import tail
from residency.run.redact import secret_names
from residency.run.stagerun import Context
from residency.serving import ADDRESS, PORT_ENV

BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
"""Seconds before a service that died is started again, doubled each time."""

_TOLD: dict[int, type[ResidencyError]] = {EXIT_RECIPE: RecipeInvalid, EXIT_MISSING: Missing}
"""What a command of ours means by its exit status."""

Status = Literal["waiting", "starting", "ready", "restarting", "stopping", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class _Started:
    """A service as it is started: `residency.plan.model.Command`."""

    name: str
    recipe: Recipe
    engine: serving.Server
    job: Job
    launch: Launch
    secrets: Mapping[str, str]


class ServiceRun:
    """A service of a run. `start`, then `poll` until it is `stopped` or `failed`."""

    def __init__(
        self, service: PlannedService, run_dir: Path, context: Context, *, by_hand: bool = False
    ) -> None:
        """One that is to run; `by_hand`: at the port that its recipe says."""
        self.service = service
        self.status: Status = "waiting"
        self.error: ResidencyError | None = None
        self.url = service.url
        self.restarts = 0
        self.folder = run_dir / service.job.folder
        self._context = context
        self._by_hand = by_hand
        self._devices: Mapping[str, str] = {}
        self._started: _Started | None = None
        self._running: Running | None = None
        self._probe: health.Probe | None = None
        self._pulse: health.Pulse | None = None
        self._hung: str | None = None
        self._deadline = self._again = 0.0
        self._log_start = 0
        self._was_ready = False

    # ---- what it is

    @property
    def name(self) -> str:
        """Its name."""
        return self.service.name

    @property
    def external(self) -> bool:
        """Whether it runs anyway: it is looked at, and neither started nor stopped."""
        return self.service.engine is None

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder / stagefiles.LOG

    @property
    def ready(self) -> bool:
        """Whether stages may use it."""
        return self.status == "ready"

    @property
    def over(self) -> bool:
        """Whether there is nothing more to watch."""
        return self.status in ("waiting", "stopped", "failed")

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        return self._running.pid if self._running else None

    def fileno(self) -> int | None:
        """A file to wait on for news of it, or None."""
        return self._running.fileno() if self._running else None

    def _config(self, key: str, default: Any) -> Any:
        found = self.service.recipe.config.get(key)
        return default if found is None else found

    # ---- start

    def start(self, urls: Mapping[str, str], devices: Mapping[str, str]) -> None:
        """Start it, or begin to look at one that runs already.

        Args:
            urls: The addresses of the services that it uses.
            devices: The environment that names its GPUs.
        """
        if self.external:
            self._probe = health.Probe(health.external_url(self.service))
            self._deadline = time.monotonic() + health.external_seconds(self.service)
            self._say("starting", "waiting for its answer")
            return
        engine = self.service.engine
        assert engine is not None
        self._devices = devices
        job = filled(replace(self.service.job, folder=self.folder), urls)
        self._started = _Started(
            self.name, self.service.recipe, engine, job, engine.prepare(job), self.service.secrets
        )
        self._launch("starting")

    def _launch(self, status: Status) -> None:
        started = self._started
        assert started is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ADDRESS).unlink(missing_ok=True)
        added = environment.added(started, self._devices, self._context.environ)
        stagefiles.write(self.folder, started, added)
        with suppress(OSError):
            (self.folder / "outputs").rmdir()  # a server leaves nothing
        self._log_start = self._head()
        env = environment.resolve(added, self._context.environ)
        env[procs.COOKIE] = secrets.token_hex(16)
        env.pop(PORT_ENV, None)
        if self.url is not None:
            # The address has been handed out: it must be the same after a restart.
            env[PORT_ENV] = self.url.rpartition(":")[2]
        elif not self._by_hand:
            env[PORT_ENV] = "0"
        declared = {*started.secrets, *environment.secrets_of(started)}
        task = Task(
            name=f"service {self.name}",
            argv=started.launch.argv,
            env=env,
            secrets=tuple(secret_names(env, declared)),
            folder=self.folder,
            log=self.log,
            lock=-1,
        )
        self._probe = self._pulse = self._hung = None
        seconds = float(self._config("health_seconds", serving.HEALTH_SECONDS))
        self._deadline = time.monotonic() + seconds
        self._running = self._context.executor.start(task)
        self._say(status, f"its log: {self.log}")

    def _head(self) -> int:
        again = f", restart {self.restarts}" if self.restarts else ""
        with self.log.open("ab") as stream:
            stream.write(f"=== {state.now()}{again} ===\n".encode())
            return stream.tell()

    # ---- watch

    def poll(self) -> None:
        """Look after it."""
        now = time.monotonic()
        if self._running is not None and (ended := self._running.poll()) is not None:
            self._running = None
            self._died(ended, now)
        if self.status in ("starting", "restarting"):
            if self._running is None and not self.external:
                if now >= self._again:
                    self._launch(self.status)
                return
            self._wait_for_health(now)
        elif self.status == "ready":
            self._listen(now)

    def _wait_for_health(self, now: float) -> None:
        if self._probe is None:
            assert self._started is not None
            url = self._started.engine.address(self._started.job)
            if url is not None:
                self.url = url
                self._probe = health.Probe(url + self._started.engine.health)
        if self._probe is not None and self._probe.look(now):
            self._was_ready = True
            self._watch(self._probe.url, now)
            self._say("ready", f"at {self.url}")
        elif now > self._deadline:
            said = self._probe.said if self._probe else "it does not listen yet"
            if self.external:
                self._fail(health.unreachable(self.service, said))
            else:
                seconds = float(self._config("health_seconds", serving.HEALTH_SECONDS))
                self._fail(
                    StageFailed(
                        f"the service {self.name} was not well within {seconds:g} s: {said}",
                        f"its log: {self.log}; `health_seconds` gives it longer",
                    )
                )

    def _watch(self, url: str, now: float) -> None:
        """From now on listen whether it stays well, unless it is not ours or its recipe says 0."""
        patience = float(self._config("hung_seconds", serving.HUNG_SECONDS))
        if not self.external and patience > 0:
            every = float(self._config("health_every", serving.HEALTH_EVERY))
            self._pulse = health.Pulse(url, every, patience, now)

    def _listen(self, now: float) -> None:
        """Kill it once it has hung too long; it is then started again as one that died."""
        if self._pulse is None or self._running is None or self._hung is not None:
            return
        if self._pulse.hung(now):
            patience = float(self._config("hung_seconds", serving.HUNG_SECONDS))
            said = self._pulse.said or "it did not answer"
            self._hung = f"was not well for {patience:g} s ({said}) and was killed"
            self._running.kill()

    def _died(self, ended: Exit, now: float) -> None:
        """It has ended, because it was asked to or by itself."""
        if self.status in ("stopping", "failed", "stopped"):
            if self.status != "failed":
                self._say("stopped")
            return
        started = self._started
        assert started is not None
        how = f"ended with {ended.code}" if ended.signal is None else f"was killed by signal {ended.signal}"
        if ended.error is not None:
            how = f"ended: {ended.error}"
        how = self._hung or how
        why, hint = self._explained(tail(self.log, self._log_start))
        allowed = int(self._config("restarts", serving.RESTARTS))
        told = _TOLD.get(ended.code or 0) if started.engine.exits_as_launcher else None
        if not self._was_ready and (told is not None or self._by_hand):
            # It says itself that another try would end in the same way; or a user waits for it.
            kind = told or StageFailed
            self._fail(kind(f"the service {self.name} cannot start: {why}", self._hint(hint)))
        elif self.restarts >= allowed:
            times = f" and was started again {allowed} times" if allowed else ""
            self._fail(StageFailed(f"the service {self.name} {how}{times}: {why}", self._hint(hint)))
        else:
            self.restarts += 1
            pause = min(LONGEST_BACKOFF, BACKOFF * 2 ** (self.restarts - 1)) * random.uniform(0.75, 1.25)
            self._again = now + pause
            self._say(
                "restarting", f"it {how} ({why}); restart {self.restarts} of {allowed} in {pause:.0f} s"
            )

    def _explained(self, text: str) -> tuple[str, str | None]:
        assert self._started is not None
        why, hint = self._started.engine.explain_failure(self._started.job, text)
        redact = self._context.redactor
        return redact.text(why), redact.text(hint) if hint else None

    def _hint(self, hint: str | None) -> str:
        return f"{hint}; its log: {self.log}" if hint else f"its log: {self.log}"

    def _fail(self, error: ResidencyError) -> None:
        self.error = error
        if self._running is not None:
            self._running.stop()
        self._say("failed", f"its log: {self.log}" if not self.external else "")

    def _say(self, status: Status, note: str = "") -> None:
        self.status = status
        self._context.view.service(self.name, status, note)

    # ---- end

    def stop(self) -> None:
        """Ask it to end, if it was started; `poll` until `over`."""
        if self.external or self._running is None:
            if not self.over:
                self._say("stopped")
            return
        if self.status != "stopping":
            self._running.stop()
            if self.status != "failed":
                self._say("stopping")

    def kill(self) -> None:
        """End it at once."""
        if self._running is not None:
            self._running.kill()

    @property
    def alive(self) -> bool:
        """Whether a process of it is left."""
        return self._running is not None
