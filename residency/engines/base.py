"""What an engine is to the launcher.

Every stage is one command that runs in the stage's folder. The engine writes the files that
the command reads, says how to read its progress, and verifies what it left. A stage can be
run again by hand from its folder: `sh command.txt`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe


@dataclass(frozen=True, slots=True)
class CheckContext:
    """What a check may know beside the recipe."""

    project: Path
    """The folder that holds dataset_info.json, rewards/, processors/."""
    cwd: Path
    """Where the command was given; a plain LLaMA-Factory YAML is resolved from here."""
    trust: tuple[str, ...] = ()
    """Packages that `--trust` adds to rewards., processors. and residency."""
    gpus: int = 0
    """GPUs of this machine."""


@dataclass(frozen=True, slots=True)
class Job:
    """One stage, resolved: no interpolation is left in it, but for secrets (in `env` alone)."""

    name: str
    """The stage's name in the run."""
    kind: str
    config: Mapping[str, Any]
    """The resolved recipe as plain values; references to other stages are absolute paths."""
    folder: Path
    """The stage's folder: the engine's files, log.txt, metrics.jsonl, state.json."""
    recipe_folder: Path
    """Where relative paths in `config` start."""
    project: Path
    datasets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Absolute path of a data file that an earlier stage leaves → its dataset_info.json entry."""
    gpus: int = 0
    """GPUs given to this stage; 0 means CPU."""
    threads: int = 1
    """CPU threads it may use."""

    @property
    def outputs(self) -> Path:
        """The folder of what the stage leaves."""
        return self.folder / "outputs"


@dataclass(frozen=True, slots=True)
class Launch:
    """A command and the files that it reads."""

    argv: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    """Path relative to the stage's folder → text. Written before anything starts."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment. Never a secret: those are added when the command starts."""
    stall_seconds: float | None = None
    """Without a new log line for so long the stage counts as stalled; None: never."""
    notes: tuple[str, ...] = ()
    """What the user should know of how the recipe was taken: a default chosen, a key not used."""
    sets: tuple[str, ...] = ()
    """The engine's keys that a hardware profile sets, with why; `plan` shows them."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running stage is; every field may be unknown."""

    step: int | None = None
    total: int | None = None
    unit: str = "step"
    message: str = ""
    """What it is doing, when there is no step to count."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The latest values: loss, learning_rate, reward, …"""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a finished stage left, after it was looked at."""

    outputs: Mapping[str, Path]
    """Output's name → absolute path."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Final figures: train_loss, steps, rows, scores."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """GPU memory that training is expected to take, in bytes for the fullest GPU."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    overhead: int
    parameters: int
    """Parameters of the model."""
    trainable: int
    """Parameters that are trained."""
    notes: tuple[str, ...] = ()
    """What was assumed."""
    advice: tuple[str, ...] = ()
    """Keys to change when it does not fit, most useful first: `llamafactory.cutoff_len: 1024`."""

    @property
    def total(self) -> int:
        """The sum of all parts."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.overhead

    def to_json(self) -> dict[str, Any]:
        """The estimate as `plan --format json` prints it, bytes throughout."""
        return {**asdict(self), "total": self.total}


class Engine(ABC):
    """One engine. Instances hold no state; everything is in the job and its folder."""

    name: ClassVar[str]
    """The engine's key in a recipe: `llamafactory`, `lm_eval`."""
    distribution: ClassVar[str]
    """The Python distribution that provides it."""
    install: ClassVar[str] = "make install"
    """The command that installs it."""
    exits_as_launcher: ClassVar[bool] = False
    """True when its command is one of ours: it exits with the launcher's codes (3: something is
    missing) and prints `error: ` and why."""

    def version(self) -> str | None:
        """The installed version, or None; found without importing the engine."""
        import importlib.metadata  # 18 ms that `check` does not need

        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Add what the schema cannot say: rules across keys, files that must exist."""

    def gpus(self, config: Mapping[str, Any], there: int) -> int | None:
        """GPUs that a recipe's own keys of this engine ask for; None: what its kind takes else.

        Asked only where `resources.gpus` does not say.

        Args:
            config: The resolved recipe.
            there: GPUs of this machine.
        """
        return None

    @abstractmethod
    def prepare(self, job: Job) -> Launch:
        """The files and the command. Touches nothing on disk; the same job gives the same launch."""

    def resume(self, job: Job) -> str | None:
        """Make ready to go on from what an interrupted attempt left in the folder.

        Called before each start. Returns what it goes on from ("checkpoint-40") or None when
        it starts from nothing. May remove half-written work, never finished work.
        """
        return None

    def finished(self, job: Job) -> bool:
        """True when an interrupted attempt had already done all of its work.

        Asked before a start that resumes; when True the command is not run again and `verify`
        follows at once.
        """
        return False

    def progress(self, job: Job) -> Progress:
        """How far it is, read from the engine's own log; called about once a second."""
        return Progress()

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        """The rows for metrics.jsonl that the engine has logged so far; each has a `step`."""
        return ()

    def notices(self, job: Job) -> tuple[str, ...]:
        """What the user should know of a stage that has just made its first step.

        Called once in an attempt; for what shows only when the work has begun and is better
        known before hours of it are over.
        """
        return ()

    @abstractmethod
    def verify(self, job: Job) -> Verified:
        """Look at what the stage left. Raises StageFailed when the work was not done."""

    def reused(self, job: Job) -> tuple[str, ...]:
        """Called when a finished stage is reused; returns warnings.

        For what a recipe wants outside of the store, which may be gone or another's by now.
        """
        return ()

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """A sentence and a hint for a command that failed, from the end of its log."""
        lines = [line.strip() for line in log_tail.splitlines() if line.strip()]
        return (lines[-1] if lines else "it printed nothing"), None

    def estimate(self, job: Job) -> MemoryEstimate | None:
        """GPU memory that training would take, or None where there is nothing to estimate."""
        return None
