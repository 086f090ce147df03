"""What the record of past runs says: a run with the states of its stages, and what two runs differ in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from residency import files
from residency.run import lock, rundir, state
from residency.run.rundir import RunRecord, StageRecord
from residency.run.seen import as_seen
from residency.run.state import State

_HEADLINES = ("accuracy", "exact_match", "acc", "f1", "score", "reward", "eval_loss", "train_loss", "loss")
"""Figures by which a run is known, the best first."""


@dataclass(slots=True)
class PastRun:
    """One run as its folder has it."""

    folder: Path
    record: RunRecord

    @property
    def runs(self) -> Path:
        """The runs folder."""
        return self.folder.parent.parent

    def stage_folder(self, stage: StageRecord) -> Path:
        """Where a stage of the run lies: by the link in the run, else in the store."""
        link = self.folder / "stages" / rundir.folder_name(stage.name)
        return link.resolve() if link.is_dir() else self.runs / stage.folder

    def state(self, stage: StageRecord) -> State | None:
        """The state of a stage as this run saw it, or None when it has none that can be read."""
        return self._seen(stage)[0]

    def since(self, stage: StageRecord) -> str:
        """What another run has made of a stage since: `finished later by NAME/ID`, or nothing."""
        return self._seen(stage)[1]

    def _seen(self, stage: StageRecord) -> tuple[State | None, str]:
        if stage.status in ("waiting", "skipped"):
            return None, ""
        try:
            current = state.load(self.stage_folder(stage))
        except state.Unreadable:
            return None, ""
        if current is None:
            return None, ""
        found, since = as_seen(stage.saw, asdict(current), rundir.identity(self.folder))
        known = {field.name for field in fields(State)}
        return State(**{key: value for key, value in found.items() if key in known}), since

    def lock(self) -> dict[str, Any]:
        """recipe.lock.yaml; empty where it cannot be read."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            found = yaml.load((self.folder / lock.FILE).read_text(encoding="utf-8"), Loader=loader)
        except (OSError, ValueError, yaml.YAMLError):
            return {}
        return found if isinstance(found, dict) else {}

    def figures(self) -> dict[str, dict[str, float]]:
        """Stage → its final figures that are numbers, of the stages that the run finished or reused."""
        found: dict[str, dict[str, float]] = {}
        for stage in self.record.stages:
            known = self.state(stage) if stage.status == "done" else None
            numbers = dict(_numbers(known.metrics)) if known is not None and known.status == "done" else {}
            if numbers:
                found[stage.name] = numbers
        return found

    def headline(self) -> str:
        """The figure by which the run is known: of its last stage that has one, `accuracy 0.97`."""
        for stage, numbers in reversed(self.figures().items()):
            for wanted in _HEADLINES:
                for name, value in numbers.items():
                    if name.rpartition("/")[2] == wanted:
                        return f"{stage}: {name} {value:.4g}"
        return ""


def load(folder: Path) -> PastRun:
    """The run in a folder that `rundir.find` gave. A run.json that is lost gives an empty record."""
    record = rundir.load(folder)
    if record is None:
        record = RunRecord(folder.name, folder.parent.name, "", "", status="unreadable")
    return PastRun(folder, record)


def _numbers(value: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    for key, item in value.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping):
            yield from _numbers(item, where)
        elif isinstance(item, int | float) and not isinstance(item, bool):
            yield where, item


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that two runs do not have in common; None where one of them lacks it."""

    key: str
    a: Any
    b: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two runs differ in."""

    recipe: list[Difference]
    """Keys of the resolved recipes, as `stage.key`."""
    data: list[Difference]
    """Hashes of files and sources, and models."""
    functions: list[Difference]
    versions: list[Difference]
    code: list[Difference]
    """The commit of the project, and whether it was changed."""
    metrics: list[Difference]
    """Every final figure, those that are alike too."""

    def to_json(self) -> dict[str, Any]:
        """The comparison as `diff --format json` prints it."""
        return state.jsonable(asdict(self))  # type: ignore[no-any-return]


def compare(a: PastRun, b: PastRun) -> Comparison:
    """What two runs differ in, by their locks and the figures of their stages."""
    first, second = a.lock(), b.lock()

    def part(*names: str) -> list[Difference]:
        kept = [{name: lock_[name] for name in names if lock_.get(name)} for lock_ in (first, second)]
        return _differences(*kept)

    recipes = [
        {name: stage.get("config") for name, stage in _mapping(lock_.get("stages")).items()}
        for lock_ in (first, second)
    ]
    figures = [flat(run.figures()) for run in (a, b)]
    keys = list(dict.fromkeys([*figures[0], *figures[1]]))
    return Comparison(
        recipe=_differences(*recipes),
        data=part("files", "sources", "models"),
        functions=_differences(first.get("functions"), second.get("functions")),
        versions=_differences(first.get("versions"), second.get("versions")),
        code=_differences(first.get("git"), second.get("git")),
        metrics=[Difference(key, figures[0].get(key), figures[1].get(key)) for key in keys],
    )


def _differences(a: Any, b: Any) -> list[Difference]:
    first, second = flat(_mapping(a)), flat(_mapping(b))
    keys = dict.fromkeys([*first, *second])
    return [
        Difference(key, first.get(key), second.get(key))
        for key in keys
        if (key in first) != (key in second) or files.canonical(first[key]) != files.canonical(second[key])
    ]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def flat(value: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Every value of nested mappings by its dotted key."""
    found: dict[str, Any] = {}
    for key, item in value.items():
        where = f"{path}.{key}" if path else str(key)
        if isinstance(item, Mapping) and item:
            found |= flat(item, where)
        else:
            found[where] = item
    return found
