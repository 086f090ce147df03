"""The store of stages: `runs/store/<kind>-<16 digits of the fingerprint>`, `.2`, `.3` for later ones anew.

A stage that is finished there is reused by any run; one that was begun is gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from residency.run import claim, state
from residency.run.state import State, Unreadable

DIGITS = 16
_GAP = 8
"""So many missing numbers in a row end the search: a user may have deleted some."""

Standing = Literal["done", "running", "interrupted", "failed", "damaged", "unreadable", "empty"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One folder of the store."""

    key: str
    folder: Path
    number: int
    """1, or what follows the dot in its key."""
    status: Standing
    """`running` only while its launcher lives (a dead one's is `interrupted`); `damaged`: it was
    finished and its outputs are gone or changed; `empty`: it never got so far as to start."""
    state: State | None = None
    problem: str | None = None
    """What is damaged or unreadable."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What a plan does with a stage of that fingerprint."""

    key: str
    folder: Path
    action: Literal["reuse", "resume", "run"]
    reason: str
    """In a few words; empty when nothing of that fingerprint was ever begun."""
    attempt: Attempt | None = None


class Store:
    """The finished and begun stages under a runs folder."""

    def __init__(self, runs: Path) -> None:
        self.folder = runs / "store"

    def base(self, kind: str, fingerprint: str) -> str:
        """The key of the first attempt with that fingerprint."""
        return f"{kind}-{fingerprint[:DIGITS]}"

    def find(self, kind: str, fingerprint: str) -> list[Attempt]:
        """The attempts with that fingerprint, newest first. Looks at those folders alone."""
        found = [self._look(key, number, fingerprint) for key, number in self._keys(kind, fingerprint)]
        return found[::-1]

    def key_for(self, kind: str, fingerprint: str, *, fresh: bool = False) -> str:
        """The key that the stage has; with `fresh`, one that is not yet taken."""
        base = self.base(kind, fingerprint)
        numbers = [number for _, number in self._keys(kind, fingerprint)]
        if not fresh or not numbers:
            return base
        return f"{base}.{max(numbers) + 1}"

    def choose(self, kind: str, fingerprint: str, *, fresh: bool = False) -> Choice:
        """Reuse the newest finished stage, else go on with the newest that was begun, else run."""
        attempts = self.find(kind, fingerprint)
        if not fresh:
            for attempt in attempts:
                if attempt.status == "done":
                    assert attempt.state is not None
                    return self._choice(attempt, "reuse", _when("finished", attempt.state.ended))
            for attempt in attempts:
                if attempt.status in ("running", "interrupted", "failed", "unreadable"):
                    return self._choice(attempt, "resume", _begun(attempt))
            for attempt in attempts:
                if attempt.status == "empty":
                    return self._choice(attempt, "run", "")
        key = self.key_for(kind, fingerprint, fresh=True)
        broken = next((a for a in attempts if a.status == "damaged"), None)
        reason = "--fresh" if fresh else f"finished before, but {broken.problem}" if broken else ""
        return Choice(key, self.folder / key, "run", reason, broken)

    def _choice(self, attempt: Attempt, action: Literal["reuse", "resume", "run"], reason: str) -> Choice:
        return Choice(attempt.key, attempt.folder, action, reason, attempt)

    def _keys(self, kind: str, fingerprint: str) -> Iterator[tuple[str, int]]:
        base = self.base(kind, fingerprint)
        number, missing = 1, 0
        while missing < _GAP:
            key = base if number == 1 else f"{base}.{number}"
            if (self.folder / key).is_dir():
                missing = 0
                yield key, number
            else:
                missing += 1
            number += 1

    def _look(self, key: str, number: int, fingerprint: str) -> Attempt:
        folder = self.folder / key
        try:
            found = state.load(folder)
        except Unreadable as error:
            return Attempt(key, folder, number, "unreadable", None, str(error))
        if found is None:
            return Attempt(key, folder, number, "empty")
        if found.fingerprint != fingerprint:
            problem = f"{folder / state.FILE} is of another stage"
            return Attempt(key, folder, number, "damaged", found, problem)
        if found.status == "done":
            harm = state.damage(folder, found)
            return Attempt(key, folder, number, "damaged" if harm else "done", found, harm)
        if found.status == "running" and not claim.is_held(folder):
            return Attempt(key, folder, number, "interrupted", found)
        return Attempt(key, folder, number, found.status, found)


def _when(what: str, text: str | None) -> str:
    found = state.moment(text)
    return f"{what} {found.astimezone():%Y-%m-%d %H:%M}" if found else what


def _begun(attempt: Attempt) -> str:
    if attempt.status == "unreadable":
        return "begun before, but its state cannot be read"
    assert attempt.state is not None
    if attempt.status == "failed":
        message = (attempt.state.error or {}).get("message") or "no reason was kept"
        return f"failed before: {message}"
    if attempt.status == "running":
        return "another launcher is running it"
    return _when("interrupted; begun", attempt.state.started)
