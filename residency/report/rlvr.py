"""What an rlvr stage leaves beside its curve: rollouts, the gold check, counts of prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from residency.report.reader import Reader
from residency.report.scores import LONGEST, integer, number, text

T = TypeVar("T")

EACH = 3
"""Rollouts of the first steps that are kept, and of the last."""
BEST = 2
"""Of the last tenth of the steps, those of the highest reward that are kept beside them."""
PAIRS = 2
"""Validation questions whose first and last answers are kept."""

BROWSED_STEPS = 20
"""Steps of each split whose rollouts can be browsed: the first, the last and others evenly between."""
BROWSED_EACH = 4
"""Rollouts of each of them."""
BROWSED_LONGEST = 1_500
"""Characters of a prompt or an answer of a rollout that is browsed."""


@dataclass(frozen=True, slots=True)
class Step:
    """Some rollouts of one step."""

    step: int
    split: str
    kept: int
    """How many the stage kept of it."""
    mean: float | None
    """The mean of their rewards."""
    rollouts: Sequence[Rollout]


@dataclass(frozen=True, slots=True)
class Component:
    """One entry of `rewards:`."""

    name: str
    fn: str = ""
    weight: float = 1.0
    when: str = ""
    """The component that must score its maximum for this one to count."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer that the model gave in training or validation."""

    step: int
    split: str
    """`train` or `validation`."""
    prompt: str
    answer: str
    reward: float | None
    """None where it had none."""
    components: Mapping[str, float | None] = field(default_factory=dict)
    """Scores before their weights; of validation answers they are not kept."""
    why: str = ""
    """Why it had no reward."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The rollouts that a report shows, of those that the stage kept."""

    kept: int
    """In rollouts.jsonl, less those of steps that were lost and done again."""
    early: Sequence[Rollout] = ()
    late: Sequence[Rollout] = ()
    best: Sequence[Rollout] = ()
    """Of the last tenth of the steps, the highest rewards that are not in `late`."""
    pairs: Sequence[tuple[Rollout, Rollout]] = ()
    """The first and the last answer to the same validation question."""
    steps: Sequence[Step] = ()
    """To browse: of training and of validation, in order."""


@dataclass(frozen=True, slots=True)
class GoldCase:
    """Right answers, or right answers corrupted in one way."""

    name: str
    answers: int
    means: Mapping[str, float | None]
    """Component, or `total`, → its mean."""


@dataclass(frozen=True, slots=True)
class Gold:
    """What the gold check found before training."""

    rows: int
    without_gold: int
    maximum: float | None
    """What a right answer must score."""
    cases: Sequence[GoldCase]
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Prompts:
    """What became of the questions of one split."""

    split: str
    """`train` or `val`."""
    read: int
    kept: int
    dropped: int
    truncated: int


@dataclass(frozen=True, slots=True)
class Rlvr:
    """What an rlvr stage left beside metrics.jsonl."""

    components: Sequence[Component] = ()
    rollouts: Rollouts | None = None
    gold: Gold | None = None
    gold_off: bool = False
    """True when the recipe left the gold check out."""
    prompts: Sequence[Prompts] = ()
    limit: int | None = None
    """Tokens that a prompt may have."""


def read(folder: Path, stage: Mapping[str, Any], reader: Reader, *, upto: int | None = None) -> Rlvr:
    """What lies in the stage's folder.

    Args:
        folder: The stage's folder.
        stage: Its stage.yaml.
        reader: Reads the files, and notes what cannot be read.
        upto: Leave out what is of later steps.
    """
    config = recipe(stage)
    counts = reader.json(folder / "data" / "report.json")
    return Rlvr(
        components=_components(config.get("rewards")),
        rollouts=_rollouts(folder / "outputs" / "rollouts.jsonl", reader, upto),
        gold=_gold(reader.json(folder / "gold.json")),
        gold_off=config.get("gold_check") is False,
        prompts=[found for split in ("train", "val") if (found := _prompts(split, counts.get(split)))],
        limit=integer(counts.get("max_prompt_length", stage.get("max_prompt_length"))),
    )


def recipe(stage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The resolved recipe in a stage.yaml: all of it, or what stands under `config`."""
    config = stage.get("config")
    return config if isinstance(config, Mapping) and "kind" in config else stage


def components_of(rows: Iterable[Mapping[str, Any]], known: Sequence[Component]) -> list[Component]:
    """The components that a curve has figures of: the recipe's in its order, then any other."""
    names = dict.fromkeys(
        key.removeprefix("rewards/").removesuffix("/mean")
        for row in rows
        for key in row
        if key.startswith("rewards/") and key.endswith("/mean") and key != "rewards/total/mean"
    )
    found = [component for component in known if component.name in names]
    seen = {component.name for component in known}
    return found + [Component(name) for name in names if name not in seen]


def tenths(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The means of the first and of the last tenth of the values, one of them at least."""
    if not values:
        return None, None
    size = max(1, len(values) // 10)
    return math.fsum(values[:size]) / size, math.fsum(values[-size:]) / size


def _components(given: Any) -> list[Component]:
    found = []
    for entry in given if isinstance(given, list) else []:
        if isinstance(entry, Mapping) and entry.get("fn"):
            fn, weight = text(entry["fn"]), number(entry.get("weight"))
            name = text(entry.get("name")) or fn.removeprefix("rewards.")
            found.append(Component(name, fn, 1.0 if weight is None else weight, text(entry.get("when"))))
    return found


def _prompts(split: str, counts: Any) -> Prompts | None:
    if not isinstance(counts, Mapping):
        return None
    read, kept, dropped, truncated = (
        integer(counts.get(k)) for k in ("read", "kept", "dropped", "truncated")
    )
    if read is None or kept is None:
        return None
    return Prompts(split, read, kept, dropped or 0, truncated or 0)


def _gold(found: Mapping[str, Any]) -> Gold | None:
    cases, means = found.get("cases"), found.get("means")
    if not isinstance(cases, Mapping) or not cases:
        return None
    means = means if isinstance(means, Mapping) else {}
    failures = found.get("failures")
    return Gold(
        rows=integer(found.get("rows")) or 0,
        without_gold=integer(found.get("without_gold")) or 0,
        maximum=number(found.get("maximum")),
        cases=[GoldCase(text(n), integer(count) or 0, _scores(means.get(n))) for n, count in cases.items()],
        failures=len(failures) if isinstance(failures, list) else 0,
    )


def _scores(found: Any) -> dict[str, float | None]:
    return {text(k): number(v) for k, v in found.items()} if isinstance(found, Mapping) else {}


def _rollout(row: Mapping[str, Any]) -> Rollout:
    return Rollout(
        step=integer(row.get("step")) or 0,
        split=text(row.get("split")),
        prompt=text(row.get("prompt"))[:LONGEST],
        answer=text(row.get("answer"))[:LONGEST],
        reward=number(row.get("reward")),
        components=_scores(row.get("components")),
        why=text(row.get("unavailable")),
    )


_Place = tuple[int, int, str, float | None]
"""Of one row: its line, step, split and reward."""


def _rollouts(path: Path, reader: Reader, upto: int | None) -> Rollouts | None:
    # Read twice, so that no more texts than are shown are held at a time.
    kept: list[_Place] = []
    for line, row in enumerate(reader.rows(path)):
        step = integer(row.get("step"))
        if step is None or (upto is not None and step > upto):
            continue
        split = text(row.get("split"))
        if kept and step < kept[-1][1]:
            # A resumed attempt does again what came after its checkpoint.
            kept = [k for k in kept if k[1] < step or (k[1] == step and k[2] != split)]
        kept.append((line, step, split, number(row.get("reward"))))
    if not kept:
        return None
    train = [place for place in kept if place[2] == "train"]
    early = train[:EACH]
    late = train[len(early) :][-EACH:]
    best = _best(train, {place[0] for place in (*early, *late)})
    validation = [place for place in kept if place[2] == "validation"]
    ends = (validation[0][1], validation[-1][1]) if validation else (0, 0)
    first, last = ([p for p in validation if p[1] == end] for end in ends)
    browsed = [step for split in ("train", "validation") for step in _browsed(kept, split)]
    wanted = {place[0] for place in (*early, *late, *best, *first, *last, *(p for s in browsed for p in s))}
    texts = {line: _rollout(row) for line, row in enumerate(reader.rows(path)) if line in wanted}

    def shown(places: Sequence[_Place]) -> list[Rollout]:
        return [texts[place[0]] for place in places if place[0] in texts]

    pairs = _pairs(shown(first), shown(last))
    steps = [_step(places, kept, shown(places)) for places in browsed]
    return Rollouts(len(kept), shown(early), shown(late), shown(best), pairs, steps)


def _browsed(kept: Sequence[_Place], split: str) -> list[list[_Place]]:
    """Some rollouts of some steps: the lowest and highest rewards of each, and what lies evenly between."""
    by_step: dict[int, list[_Place]] = {}
    for place in kept:
        if place[2] == split:
            by_step.setdefault(place[1], []).append(place)
    found = []
    for step in _spread(sorted(by_step), BROWSED_STEPS):
        ranked = sorted(by_step[step], key=lambda p: (p[3] is None, -(p[3] or 0.0)))
        found.append(_spread(ranked, BROWSED_EACH))
    return found


def _spread(items: Sequence[T], most: int) -> list[T]:
    """At most so many, the first, the last and others evenly between."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _step(places: Sequence[_Place], kept: Sequence[_Place], shown: Sequence[Rollout]) -> Step:
    _, step, split, _ = places[0]
    every = [p[3] for p in kept if p[1] == step and p[2] == split]
    rewards = [reward for reward in every if reward is not None]
    return Step(
        step=step,
        split=split,
        kept=len(every),
        mean=math.fsum(rewards) / len(rewards) if rewards else None,
        rollouts=[
            replace(one, prompt=one.prompt[-BROWSED_LONGEST:], answer=one.answer[:BROWSED_LONGEST])
            for one in shown
        ],
    )


def _best(train: Sequence[_Place], taken: set[int]) -> list[_Place]:
    """The highest rewards of the last tenth of the steps that are not shown already."""
    if not train:
        return []
    start = train[-1][1] - max(1, (train[-1][1] - train[0][1] + 1) // 10)
    there = [p for p in train if p[1] > start and p[0] not in taken and p[3] is not None]
    return sorted(sorted(there, key=lambda p: -(p[3] or 0.0))[:BEST])


def _pairs(first: Sequence[Rollout], last: Sequence[Rollout]) -> list[tuple[Rollout, Rollout]]:
    """The answers to the same question, where they are of two steps."""
    if not first or not last or first[0].step == last[0].step:
        return []
    later = {rollout.prompt: rollout for rollout in last}
    return [(one, later[one.prompt]) for one in first if one.prompt in later][:PAIRS]
