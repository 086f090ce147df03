"""Rollouts of early and late steps with the components of their rewards."""

from __future__ import annotations

from collections.abc import Sequence

from residency.report import wording
from residency.report.markup import Child, Markup, tag
from residency.report.page.samples import shared_start
from residency.report.page.tables import folded, table
from residency.report.rlvr import BEST, Component, Rollout, Rollouts

LONG = 240
"""Characters from which a prompt or an answer is folded."""
START = 120
"""Characters of a folded one that show."""


def part(found: Rollouts, components: Sequence[Component]) -> Markup | None:
    """Tables of the first rollouts, the last, and the best of the last; validation answers in pairs."""
    tables: list[Child] = []
    shown = [*found.early, *found.late, *found.best, *(one for pair in found.pairs for one in pair)]
    skip = shared_start(sorted({one.prompt for one in shown}))
    for title, rollouts in (
        ("First steps", found.early),
        ("Last steps", found.late),
        (f"Highest rewards of the last tenth, up to {BEST} more", found.best),
    ):
        if rollouts:
            tables += [tag("h5", title), _table(rollouts, [c.name for c in components], skip)]
    if found.pairs:
        tables += [tag("h5", "The same validation question, first and last"), _pairs(found.pairs, skip)]
    if found.steps:
        tables += [tag("h5", "Step by step"), *_steps(found, [c.name for c in components])]
    if not tables:
        return None
    said = (
        f"Some of {wording.plural(found.kept, 'rollout')} in rollouts.jsonl, those of training drawn at "
        "random. Scores are those before the weights. A reward that rises while the answers get worse "
        "is being gamed: read them."
    )
    return tag(
        "div", tag("h4", "Rollouts"), tag("p", said, class_="quiet small"), tables, class_="part rollouts"
    )


def _steps(found: Rollouts, names: Sequence[str]) -> list[Child]:
    """A fold for each step: its rollouts from the highest reward to the lowest."""
    made: list[Child] = []
    for split, title in (("train", "Training"), ("validation", "Validation")):
        steps = [step for step in found.steps if step.split == split]
        folds = []
        for step in steps:
            mean = f", mean reward {wording.score(step.mean)}" if step.mean is not None else ""
            said = f"{title}, step {step.step:,}: {len(step.rollouts)} of {step.kept:,} kept{mean}"
            skip = shared_start(sorted({one.prompt for one in step.rollouts}))
            folds.append(folded(said, _table(step.rollouts, names, skip)))
        if folds:
            made.append(tag("div", folds, class_="steps"))
    return made


def _table(rollouts: Sequence[Rollout], names: Sequence[str], skip: int) -> Markup:
    heads = ["Step", "Question and answer", *names, "Reward"]
    rows: list[list[Child]] = []
    for one in rollouts:
        rows.append(
            [
                f"{one.step:,}",
                [_text(one.prompt, "quiet", skip), _answer(one)],
                *(_score(one, name) for name in names),
                tag("b", "none" if one.reward is None else wording.score(one.reward)),
            ]
        )
    return table(heads, rows, range(2, len(heads)), wide={1})


def _score(one: Rollout, name: str) -> str:
    value = one.components.get(name)
    return wording.score(value) if value is not None else "none" if name in one.components else ""


def _answer(one: Rollout) -> list[Child]:
    why = tag("p", f"no reward: {one.why}", class_="quiet small") if one.reward is None and one.why else None
    return [_text(one.answer), why]


def _pairs(pairs: Sequence[tuple[Rollout, Rollout]], skip: int) -> Markup:
    first, last = pairs[0][0].step, pairs[0][1].step
    heads = ["Question", f"Step {first:,}", "Reward", f"Step {last:,}", "Reward"]
    rows = []
    for before, after in pairs:
        row: list[Child] = [_text(before.prompt, "quiet", skip)]
        for one in (before, after):
            reward = "none" if one.reward is None else wording.score(one.reward)
            row += [_text(one.answer), tag("b", reward)]
        rows.append(row)
    return table(heads, rows, {2, 4}, wide={0, 1, 3})


def _text(text: str, class_: str | None = None, skip: int = 0) -> Markup:
    """A prompt or an answer, folded when it is long; `skip` characters all prompts begin with."""
    shown = wording.clean(text).strip()
    whole = tag("pre", shown or "(nothing)", class_=class_ if shown else "quiet")
    if len(shown) <= LONG:
        return whole
    own = " ".join(wording.clean(text[skip : skip + LONG]).split())
    start = f"{own[:START].rsplit(' ', 1)[0]} …"
    return folded([tag("span", start, class_="start"), f" ({len(shown):,} characters)"], whole)
