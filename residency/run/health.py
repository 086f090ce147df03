"""How a service is: asked in threads of its own, since the launcher must not wait for an answer."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from typing import NamedTuple

from residency.engines import serving
from residency.errors import Missing
from residency.plan.model import PlannedService

PROBE_SECONDS = 2.0
"""How long one look at a service that starts may take."""
PROBE_EVERY = 0.25
STALL = 5.0
"""Seconds between two of our own looks, beyond which it was the launcher that stood still."""
EXTERNAL_SECONDS = 10.0
"""How long a service that runs already may take to answer."""


class Answer(NamedTuple):
    """What came of one look."""

    well: bool
    said: str
    """In words: `it answered 503`, `Connection refused`."""


def ask(url: str, seconds: float) -> Answer:
    """Ask a health path once, at most that long. Never raises."""
    try:
        # Never by a proxy: a service is on this machine or in this cluster.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(url, timeout=seconds) as answer:
            return Answer(200 <= answer.status < 300, f"it answered {answer.status}")
    except urllib.error.HTTPError as error:
        return Answer(False, f"it answered {error.code}")
    except TimeoutError:
        return Answer(False, "it did not answer in time")
    except (OSError, ValueError) as error:
        return Answer(False, str(getattr(error, "reason", error)))
    except Exception as error:  # what answers is perhaps no HTTP server at all
        return Answer(False, f"{type(error).__name__}: {error}")


class Probe:
    """Asks a service that starts until it is well."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.well = False
        self.said = "it has not answered yet"
        self._busy = threading.Event()
        self._next = 0.0

    def look(self, now: float) -> bool:
        """Whether it has answered 200; asks again when it is time."""
        if not self.well and not self._busy.is_set() and now >= self._next:
            self._next = now + PROBE_EVERY
            self._busy.set()
            threading.Thread(target=self._ask, daemon=True).start()
        return self.well

    def _ask(self) -> None:
        self.well, self.said = ask(self.url, PROBE_SECONDS)
        self._busy.clear()


class Pulse:
    """Asks a service that is in use, every so often, and knows for how long it has not been well.

    A busy server answers late; one that hangs never does. So each question is open as long as
    the service may be silent, and the next is asked all the same: the answer to any of them counts,
    and a server that is blocked nine tenths of its time is still heard.
    """

    def __init__(self, url: str, every: float, patience: float, now: float) -> None:
        """Of a service that has just been well.

        Args:
            url: Its health path's whole address.
            every: Seconds between two questions.
            patience: Seconds without a good answer after which it counts as hung.
            now: `time.monotonic()`, as in `hung`.
        """
        self.said = ""
        self._url = url
        self._every, self._patience = every, patience
        self._heard = now
        self._asked = self._looked = now

    def hung(self, now: float) -> bool:
        """Whether it has not been well for too long; asks again when it is time."""
        gap = now - self._looked
        self._looked = now
        if gap > STALL:
            # The launcher itself stood still (Ctrl-Z, a long look at files): that time says nothing.
            self._heard = min(now, self._heard + gap)
        if now - self._asked >= self._every:
            self._asked = now
            threading.Thread(target=self._ask, daemon=True).start()
        return now - self._heard > self._patience

    def _ask(self) -> None:
        answer = ask(self._url, self._patience)
        if answer.well:
            self._heard = max(self._heard, time.monotonic())
        else:
            self.said = answer.said


def external_url(service: PlannedService) -> str:
    """Where one that runs already is asked: its `health` may be a path or a whole address."""
    health = str(service.recipe.config.get("health") or serving.Server.health)
    return health if "://" in health else f"{service.url}/{health.lstrip('/')}"


def external_seconds(service: PlannedService) -> float:
    """How long one that runs already may take to be well."""
    found = service.recipe.config.get("health_seconds")
    return EXTERNAL_SECONDS if found is None else float(found)


def unreachable(service: PlannedService, said: str) -> Missing:
    """What to say of one that should run already, and is not well."""
    return Missing(
        f"the service {service.name} at {service.url} does not answer: {said}",
        f"start it, or mend its `url`; it was asked at {external_url(service)}",
    )


def check_external(services: Iterable[PlannedService]) -> None:
    """Ask those that run already, before a run begins.

    Raises:
        Missing: One is not well within its `health_seconds`; the others are not waited for.
    """
    waiting = {
        service.name: (service, Probe(external_url(service)))
        for service in services
        if service.engine is None
    }
    began = time.monotonic()
    while waiting:
        now = time.monotonic()
        for name, (service, probe) in list(waiting.items()):
            if probe.look(now):
                del waiting[name]
            elif now - began > external_seconds(service):
                raise unreachable(service, probe.said)
        if waiting:
            time.sleep(0.02)
