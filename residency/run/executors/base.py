"""What an executor is to the runner: it has devices, starts commands, and can stop them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from residency.engines.base import Job


@dataclass(frozen=True, slots=True)
class Task:
    """A command that is ready to start."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment, secrets included: it goes to the process and nowhere else."""
    secrets: tuple[str, ...]
    """Variables of `env` whose values are masked in the log."""
    folder: Path
    """Where it runs."""
    log: Path
    """Where what it prints is appended."""
    lock: int
    """An open file that it inherits: the claim on the folder."""


@dataclass(frozen=True, slots=True)
class Exit:
    """How a command ended."""

    code: int | None = None
    signal: int | None = None
    """The signal that ended it; `code` is None then."""
    error: str | None = None
    """Why it could not be started, or why nothing is known of its end."""
    peak_memory: int | None = None
    """Bytes of memory that its largest process held at most."""

    @property
    def number(self) -> int | None:
        """The exit status, minus the signal where one ended it."""
        return self.code if self.signal is None else -self.signal


class Running(ABC):
    """A command that was started."""

    pid: int | None = None
    """Its process and process group, once known."""
    pid_started: str | None = None
    log_error: str | None = None
    """Why the log cannot be written, if so."""

    @abstractmethod
    def poll(self) -> Exit | None:
        """How it ended, once it and all that it started have ended; None before."""

    @abstractmethod
    def fileno(self) -> int | None:
        """A file to wait on for news, or None."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to end; kill it and all that it started after a grace."""

    @abstractmethod
    def kill(self) -> None:
        """Kill it and all that it started, now."""


class Wants(Protocol):
    """What devices are set aside for: a stage, or a service."""

    @property
    def name(self) -> str:
        """By which they are given back."""

    @property
    def job(self) -> Job:
        """Says how many GPUs."""


class Executor(ABC):
    """A place where stages run."""

    name: ClassVar[str]

    @abstractmethod
    def check(self, stages: Sequence[Wants]) -> None:
        """Raise Missing when one of the stages wants what can never be had here."""

    @abstractmethod
    def reserve(self, stage: Wants) -> Mapping[str, str] | None:
        """Set devices aside for a stage: the environment that names them, or None when not now."""

    @abstractmethod
    def release(self, stage: Wants) -> None:
        """Take the stage's devices back."""

    @abstractmethod
    def start(self, task: Task) -> Running:
        """Start a command."""
