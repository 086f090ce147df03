"""Several runs side by side: what they differ in, and how their scores differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from residency import files
from residency.errors import RecipeInvalid
from residency.recipe import overrides
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import plain
from residency.report.between import Compared, between, correct
from residency.report.model import RunRecord, StageRecord
from residency.report.scores import Score
from residency.run.history import flat

MOST_SETTINGS = 3
"""Settings in a run's label."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A score of one run, or of several that share the stage."""

    runs: tuple[int, ...]
    """The runs' places, from 0."""
    stage: StageRecord
    score: Score


@dataclass(slots=True)
class Several:
    """The runs and what they differ in."""

    runs: list[RunRecord]
    settings: dict[str, list[Any]]
    """Setting → its value in each run, of those in which they differ; None where a run lacks it."""
    labels: list[str]
    """Each run in a few words: `2: steps 50`."""
    compared: list[tuple[int, Compared]] = field(default_factory=list)
    """(place of the run, its score against that of the base)."""
    base: int = 0
    """The place of the run that the others are compared with."""
    refused: list[str] = field(default_factory=list)
    """Scores that mean different things."""

    def series(self) -> dict[tuple[str, str, str], list[Entry]]:
        """(task, metric, stage) → the scores of the runs, in their order, for those of more than one run."""
        found: dict[tuple[str, str, str], dict[str, Entry]] = {}
        for place, run in enumerate(self.runs):
            for stage in run.evaluations:
                for score in stage.scores:
                    made = found.setdefault((score.task, score.metric, stage.name), {})
                    key = stage.key or f"of {place}"
                    runs = (*made[key].runs, place) if key in made else (place,)
                    made[key] = Entry(runs, stage, score)
        several = {key: list(made.values()) for key, made in found.items()}
        return {key: entries for key, entries in several.items() if sum(len(e.runs) for e in entries) > 1}

    def label(self, runs: Sequence[int]) -> str:
        """What runs that share a stage are called."""
        if len(runs) == 1:
            return self.labels[runs[0]]
        return "all" if len(runs) == len(self.runs) else ", ".join(str(place + 1) for place in runs)

    def curves(self) -> dict[str, dict[str, list[tuple[int, StageRecord]]]]:
        """Stage → figure that it logged → the runs that did, for those of more than one run."""
        found: dict[str, dict[str, list[tuple[int, StageRecord]]]] = {}
        for place, run in enumerate(self.runs):
            for stage in run.stages:
                for key in dict.fromkeys(key for row in stage.curve for key in row):
                    found.setdefault(stage.name, {}).setdefault(key, []).append((place, stage))
        several = {
            stage: {key: runs for key, runs in figures.items() if len(runs) > 1}
            for stage, figures in found.items()
        }
        return {stage: figures for stage, figures in several.items() if figures}


def several(runs: Sequence[RunRecord]) -> Several:
    """The runs side by side, in the order given; the others are compared with the first that has scores.

    Raises:
        RecipeInvalid: There are fewer than two, or one stands twice.
    """
    if len(runs) < 2:
        raise RecipeInvalid("one run has nothing to stand beside", "name two runs or more")
    if len({run.folder for run in runs}) < len(runs):
        raise RecipeInvalid("a run is named twice")
    settings = _settings(runs)
    made = Several(list(runs), settings, [_label(place, settings) for place in range(len(runs))])
    scored = [place for place, run in enumerate(runs) if run.evaluations]
    made.base = scored[0] if scored else 0
    for place in scored[1:]:
        base, run = runs[made.base], runs[place]
        try:
            found = between(base, run)
        except RecipeInvalid:  # they have no task in common
            continue
        made.compared += [(place, one) for one in found.compared if not _shared(base, run, one)]
        made.refused += [f"{made.labels[place]}: {said}" for said in found.refused]
    correct([one for _, one in made.compared])
    return made


def _shared(first: RunRecord, run: RunRecord, one: Compared) -> bool:
    """Whether the two have the score from one stage of the store, so that there is nothing to test."""
    keys = [
        next((stage.key for stage in record.stages if stage.name == name), "")
        for record, name in ((first, one.found.before_stage), (run, one.found.after_stage))
    ]
    return bool(keys[0]) and keys[0] == keys[1]


def _settings(runs: Sequence[RunRecord]) -> dict[str, list[Any]]:
    """The settings in which the runs differ. Of several that differ alike one stands, a parameter first."""
    found = [_flat(run) for run in runs]
    keys = dict.fromkeys(key for one in found for key in one)
    made: dict[str, list[Any]] = {}
    seen: set[str] = set()
    for key in sorted(keys, key=lambda key: not key.startswith("params.")):
        values = [one.get(key) for one in found]
        texts = [files.canonical(value) for value in values]
        if len(set(texts)) < 2 or str(texts) in seen or all(v is None or _refers(v) for v in values):
            continue
        seen.add(str(texts))
        made[key] = values
    return made


def _flat(run: RunRecord) -> dict[str, Any]:
    """Every setting of a run by its dotted key, its parameters among them."""
    stages = _mapping(run.lock.get("stages"))
    given: dict[str, Any] = {"recipe": run.recipe} if run.recipe else {}
    for text in run.overrides:
        override = overrides.parse(text, Diagnostics())
        if override is not None and (override.path[0] == "params" or len(override.path) == 1):
            given[f"params.{override.path[-1]}"] = plain(override.value)
    if run.profiles:
        given["profile"] = ", ".join(run.profiles)
    return given | flat({name: _mapping(stage).get("config") for name, stage in stages.items()})


def _label(place: int, settings: Mapping[str, Sequence[Any]]) -> str:
    shown = [
        f"{key.rpartition('.')[2]} {short(_text(values[place]))}"
        for key, values in settings.items()
        if isinstance(values[place], str | int | float) and not _refers(values[place])
    ]
    said = ", ".join(shown[:MOST_SETTINGS])
    return f"{place + 1}: {said}" if said else str(place + 1)


def _refers(value: Any) -> bool:
    """Whether a value is what a stage or a service of the run gives: it says nothing by itself."""
    return isinstance(value, str) and value.startswith(("${stages.", "${services."))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def short(text: str, letters: int = 24) -> str:
    """The end of a long text: of a path that says most."""
    return text if len(text) <= letters else f"…{text[-letters + 1 :]}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
