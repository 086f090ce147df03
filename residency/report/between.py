"""Two runs, or the stages of one, held against each other: every task and metric that both have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from residency.errors import RecipeInvalid
from residency.report.compare import Comparison, compare, holm
from residency.report.model import RunRecord, StageRecord


@dataclass(slots=True)
class Compared:
    """One metric of one task."""

    found: Comparison
    warnings: list[str] = field(default_factory=list)
    """Why the difference may come from something else than the model."""
    corrected: float | None = None
    """Its p after Holm's correction for all metrics that are compared."""

    @property
    def clear(self) -> bool:
        """As `Comparison.clear`, by the corrected p where there is one."""
        return self.found.clear and (self.corrected is None or self.corrected <= 1 - self.found.after.level)

    def to_json(self) -> dict[str, Any]:
        """As `compare --format json` prints it."""
        return {
            **asdict(self.found),
            "corrected_p": self.corrected,
            "clear": self.clear,
            "warnings": self.warnings,
        }


@dataclass(slots=True)
class Between:
    """All that could be compared, and what could not."""

    compared: list[Compared] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Tasks that both have and that are not the same."""

    @property
    def tests(self) -> int:
        """How many p-values the correction is for."""
        return sum(one.corrected is not None for one in self.compared)


def within(run: RunRecord) -> Between:
    """The stages of one run that asked the same task of the same data, as its report compares them."""
    stages = {stage.name: stage for stage in run.stages}
    made = [
        Compared(found, _warnings(stages[found.before_stage], stages[found.after_stage], found.task))
        for found in run.comparisons()
    ]
    if not made:
        raise RecipeInvalid(f"{run.id} has no two evaluations of the same task", "give two runs to compare")
    correct(made)
    return Between(made)


def between(a: RunRecord, b: RunRecord, stage_a: str | None = None, stage_b: str | None = None) -> Between:
    """Every task and metric that both runs have, over the questions that both asked.

    Stages of the same name are compared; where none of a task are, the last of each run.

    Args:
        a: The first run.
        b: The second; the difference is its score less that of `a`.
        stage_a: Only this stage of `a`.
        stage_b: Only this stage of `b`.

    Raises:
        RecipeInvalid: They have no task in common, or there is no such stage.
    """
    first, second = _evaluations(a, stage_a), _evaluations(b, stage_b)
    made = Between()
    for task in dict.fromkeys(score.task for stage in first for score in stage.scores):
        for before, after in _stages(task, first, second, alike=not (stage_a or stage_b)):
            if refusal := _refusal(before, after, task):
                made.refused.append(refusal)
                continue
            made.compared += _scores(before, after, task)
    if not made.compared and not made.refused:
        said = [", ".join(sorted({x.task for s in found for x in s.scores})) for found in (first, second)]
        raise RecipeInvalid("the runs have no task in common", f"{a.id}: {said[0]}; {b.id}: {said[1]}")
    correct(made.compared)
    return made


def _evaluations(run: RunRecord, name: str | None) -> list[StageRecord]:
    found = [stage for stage in run.evaluations if name in (None, stage.name)]
    if not found:
        known = ", ".join(stage.name for stage in run.evaluations)
        what = f"{run.id} has no scores" + (f" of a stage {name}" if name else "")
        raise RecipeInvalid(
            what, f"its evaluations are {known}" if known else "it has no finished evaluation"
        )
    return found


def _stages(
    task: str, first: Sequence[StageRecord], second: Sequence[StageRecord], *, alike: bool
) -> list[tuple[StageRecord, StageRecord]]:
    mine, theirs = ([s for s in found if any(x.task == task for x in s.scores)] for found in (first, second))
    if not theirs:
        return []
    named = {stage.name: stage for stage in theirs}
    same = [(stage, named[stage.name]) for stage in mine if alike and stage.name in named]
    return same or [(mine[-1], theirs[-1])]


def _scores(before: StageRecord, after: StageRecord, task: str) -> list[Compared]:
    warnings = _warnings(before, after, task)
    theirs = {score.metric: score for score in after.scores if score.task == task}
    return [
        Compared(
            compare(
                before.name,
                score,
                before.samples_of(task),
                after.name,
                theirs[score.metric],
                after.samples_of(task),
                shared=True,
            ),
            warnings,
        )
        for score in before.scores
        if score.task == task and score.metric in theirs
    ]


def _refusal(before: StageRecord, after: StageRecord, task: str) -> str | None:
    """Why the scores of a task mean different things, or None."""
    versions = [_said(stage, task, "version") for stage in (before, after)]
    if None not in versions and versions[0] != versions[1]:
        return (
            f"{task} is not compared: {before.name} is of its version {versions[0]}, "
            f"{after.name} of version {versions[1]}"
        )
    return None


def _warnings(before: StageRecord, after: StageRecord, task: str) -> list[str]:
    """What differs beside the model."""
    found = []
    hashes = [_said(stage, task, "prompt_hash") for stage in (before, after)]
    if None not in hashes:
        differ = hashes[0] != hashes[1]
    else:
        asked = [{s.id: s.prompt for s in stage.samples_of(task)} for stage in (before, after)]
        same = asked[0].keys() & asked[1].keys()
        differ = any(asked[0][key] != asked[1][key] for key in same)
    ids = [{s.id for s in stage.samples_of(task)} for stage in (before, after)]
    if differ and ids[0] == ids[1]:
        found.append("the prompts differ, so that a difference is of prompt and model together")
    elif differ:
        found.append("the prompts or the questions differ; only questions that both asked are compared")
    limited = [any(x.limited for x in stage.scores if x.task == task) for stage in (before, after)]
    if any(limited):
        found.append("the set of questions was cut short by a limit")
    return found


def _said(stage: StageRecord, task: str, key: str) -> Any:
    about: Mapping[str, Any] = stage.asked.get(task) or {}
    return about.get(key)


def correct(compared: Sequence[Compared]) -> None:
    """Note the p-values corrected (Holm) for there being so many."""
    tested = [one for one in compared if one.found.p is not None]
    ps = holm([one.found.p for one in tested if one.found.p is not None])
    for one, p in zip(tested, ps, strict=True):
        one.corrected = p
