"""A run as its report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.report.compare import Comparison, compare
from residency.report.rlvr import Rlvr
from residency.report.scores import Sample, Score

ENDED = ("done", "failed", "interrupted", "reused", "skipped")


@dataclass(frozen=True, slots=True)
class Funnel:
    """What became of the rows that one step of a data stage read."""

    name: str
    read: int | None
    kept: int | None
    dropped: Mapping[str, int]
    """Reason → rows."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file that a data stage made."""

    name: str
    rows: int
    labels: Mapping[str, int]
    """Answer → rows, where the rows have answers to count."""


@dataclass(slots=True)
class StageRecord:
    """One stage of a run; whatever could not be read is empty."""

    name: str
    kind: str = ""
    engine: str = ""
    engine_version: str = ""
    key: str = ""
    folder: Path | None = None
    """None when it never began or its folder is gone."""
    needs: tuple[str, ...] = ()
    status: str = "waiting"
    """waiting, running, done, reused, failed, interrupted or skipped."""
    reason: str = ""
    """Why it ran or was reused."""
    seconds: float | None = None
    """Over all attempts; for a reused stage, the time that it once took."""
    started: str = ""
    ended: str = ""
    attempts: int | None = None
    since: str = ""
    """What another run has made of it since: `finished later by NAME/ID`."""
    resumed_from: str = ""
    error: str = ""
    hint: str = ""
    warnings: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    """`metrics` of its state: train_loss, steps, rows."""
    outputs: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    """Its resolved recipe."""
    command: str = ""
    curve: Sequence[Mapping[str, Any]] = ()
    """Rows of metrics.jsonl, one per step, in order."""
    scores: Sequence[Score] = ()
    samples: Sequence[Sample] = ()
    peak_memory: int | None = None
    """Bytes of its largest process."""
    gpus: int | None = None
    leaks: Mapping[str, Any] = field(default_factory=dict)
    """The report of a comparison of training sets with evaluation sets."""
    asked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Task → what its results say of how it was asked: version, prompt_hash."""
    model: str = ""
    adapter: str = ""
    lm_eval_version: str = ""
    funnels: Sequence[Funnel] = ()
    files: Sequence[DataFile] = ()
    rlvr: Rlvr | None = None
    """What reinforcement learning left beside its curve."""
    log_tail: str = ""

    @property
    def reused(self) -> bool:
        """True when this run took it from the store."""
        return self.status == "reused"

    def samples_of(self, task: str) -> list[Sample]:
        """Its sample answers to one task."""
        return [sample for sample in self.samples if sample.task == task]


@dataclass(frozen=True, slots=True)
class ServiceUse:
    """A server that stages of the run used."""

    name: str
    engine: str
    """What served; empty for one that ran already."""
    status: str
    restarts: int
    used_by: tuple[str, ...]
    url: str = ""
    error: str = ""


@dataclass(slots=True)
class RunRecord:
    """One run."""

    folder: Path
    id: str
    name: str
    kind: str = ""
    recipe: str = ""
    command: str = ""
    profiles: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    status: str = "unknown"
    """running, done, failed, interrupted, dry-run or unknown."""
    error: str = ""
    hint: str = ""
    started: str = ""
    ended: str = ""
    seconds: float | None = None
    stages: list[StageRecord] = field(default_factory=list)
    services: list[ServiceUse] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What of the run directory could not be read."""
    lock: Mapping[str, Any] = field(default_factory=dict)
    """recipe.lock.yaml."""
    lock_path: Path | None = None
    _compared: list[Comparison] | None = None

    @property
    def smoke(self) -> bool:
        """True when the run was a small one, made to show that the recipe works."""
        return any(name == "smoke" or name.startswith("smoke-") for name in self.profiles)

    @property
    def evaluations(self) -> list[StageRecord]:
        """The stages that hold scores, in the order of the run."""
        return [stage for stage in self.stages if stage.scores]

    def comparisons(self) -> list[Comparison]:
        """Each score against the first of its task and metric on the same data, and against the one
        before it; made once.
        """
        if self._compared is None:
            self._compared = self._compare()
        return self._compared

    def series(self) -> list[list[tuple[StageRecord, Score]]]:
        """The scores of one task and metric on the same data, in the order of the run."""
        groups: dict[tuple[str, str, str], dict[str, tuple[StageRecord, Score]]] = {}
        for stage in self.evaluations:
            for score in stage.scores:
                key = (score.task, score.metric, _data_of(stage, score.task))
                groups.setdefault(key, {}).setdefault(stage.name, (stage, score))
        return [list(group.values()) for group in groups.values()]

    def _compare(self) -> list[Comparison]:
        found = []
        for entries in self.series():
            for place in range(1, len(entries)):
                # The second has the first before it: that is one comparison, not two.
                for base in sorted({0, place - 1}):
                    (earlier, before), (later, after) = entries[base], entries[place]
                    found.append(
                        compare(
                            earlier.name,
                            before,
                            earlier.samples_of(before.task),
                            later.name,
                            after,
                            later.samples_of(after.task),
                        )
                    )
        return found


def _data_of(stage: StageRecord, task: str) -> str:
    """The data file that a task was given, or nothing where the task brings its own."""
    data = stage.config.get("data")
    return str(data.get(task, "")) if isinstance(data, Mapping) else ""
