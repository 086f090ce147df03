"""Puts a comparison of the training sets with the evaluation sets before a pipeline's training.

It is a stage like any other: it has a fingerprint over the files that it compares, so that it costs
nothing in a second run, and a leak ends the run before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from residency import stages as kinds
from residency.errors import ResidencyError
from residency.paths import PROJECT
from residency.plan.model import Plan, PlannedStage
from residency.recipe import tokens
from residency.recipe.kinds import PIPELINE
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import from_plain
from residency.recipe.pipeline import needs as needs_of
from residency.stages.base import Rows

NAME = "contamination"
LOOK_BYTES = 64 << 20
"""Larger files are not compared while planning: that takes longer than a plan may."""


def with_guard(recipe: Recipe, stages: Mapping[str, Recipe], project: Path = PROJECT) -> dict[str, Recipe]:
    """The stages of a checked recipe, and a comparison before the first that trains.

    A stage whose training data come from a model that was trained in the same pipeline has a
    comparison of its own, since its data are not there before.

    Args:
        recipe: What is run; `allow_leak` and `contamination` are read from it.
        stages: Its stages by name.
        project: The folder of dataset_info.json.
    """
    if recipe.kind != PIPELINE:
        return dict(stages)
    rows = {
        name: kinds.get(stage.kind).rows(stage.config, stage.folder, project)
        for name, stage in stages.items()
    }
    training = [name for name in stages if rows[name].training or _trains(stages[name], rows[name])]
    if not training or not any(found.evaluation or found.elsewhere for found in rows.values()):
        return dict(stages)
    before = _ancestors(stages)
    made = dict(stages)
    together = [name for name in training if not _makers(rows[name].training, before) & set(training)]
    groups = [(NAME, together)] if together else []
    groups += [(f"{NAME}_{name.replace('/', '_')}", [name]) for name in training if name not in together]
    for wanted, members in groups:
        guard = _guard(recipe, wanted, members, rows, before)
        if guard is None:
            continue
        name = wanted
        while name in made:
            name += "_"
        # Before all others: as soon as its data are there, ahead of hours of evaluation.
        made = {name: guard, **made}
        for member in members:
            made[member] = replace(made[member], needs=(*made[member].needs, name))
    return made


def unseen(recipe: Recipe, stages: Mapping[str, Recipe], project: Path = PROJECT) -> list[str]:
    """A warning for a pipeline that trains and evaluates where nothing of either can be compared.

    Args:
        recipe: What is run.
        stages: Its stages as the check gave them, without comparisons.
        project: The folder of dataset_info.json.
    """
    if recipe.kind != PIPELINE or len(with_guard(recipe, stages, project)) > len(stages):
        return []
    rows = {n: kinds.get(s.kind).rows(s.config, s.folder, project) for n, s in stages.items()}
    trains = any(found.training or _trains(stages[name], found) for name, found in rows.items())
    asks = any(found.evaluation or stages[name].kind == "evaluate" for name, found in rows.items())
    away = [f"{name}: {text}" for name, found in rows.items() for text in found.elsewhere]
    if not (trains and asks and away):
        return []
    return [f"no leak of test questions into the training data can be looked for ({'; '.join(away)})"]


def _trains(stage: Recipe, rows: Rows) -> bool:
    return bool(rows.elsewhere) and stage.kind != "evaluate"


def _guard(
    recipe: Recipe, name: str, members: list[str], rows: Mapping[str, Rows], before: Mapping[str, set[str]]
) -> Recipe | None:
    """The comparison for some training stages; None where there is nothing to compare."""
    learnt: dict[tuple[str, ...], list[str]] = {}
    for member in members:
        if rows[member].training:
            learnt.setdefault(rows[member].training, []).append(member)
    left_out = [f"{member}: {text}" for member in members for text in rows[member].elsewhere]
    by_data: dict[tuple[str, ...], list[str]] = {}
    for stage, found in rows.items():
        left_out += [
            f"{stage}: {text}" for text in found.elsewhere if stage not in members and found.evaluation
        ]
        left_out += [
            f"{stage}: {text}" for text in found.elsewhere if not found.evaluation and not found.training
        ]
        for task, data in found.evaluation.items():
            if _makers(data, before) & set(members):
                left_out.append(
                    f"{stage}: the data of {task}, which is made after the training of {members[0]}"
                )
            else:
                by_data.setdefault(data, []).append(f"{stage}/{task}")
    if not learnt or not by_data:
        return None
    config: dict[str, Any] = {
        "kind": NAME,
        "name": name,
        # The same data in several stages are one set.
        "training": {", ".join(users): list(data) for data, users in learnt.items()},
        "evaluation": {", ".join(users): list(data) for data, users in by_data.items()},
    }
    if left_out:
        config["not_compared"] = list(dict.fromkeys(left_out))
    whole = recipe.config
    config |= {key: whole[key] for key in ("allow_leak",) if whole.get(key)}
    config |= whole.get("contamination") or {}
    tree = from_plain(config, recipe.tree.span)
    assert isinstance(tree, Tree)
    made = Recipe(path=recipe.path, kind=NAME, name=name, tree=tree, files=list(recipe.files))
    made.references = list(tokens.references(tree))
    return made


def _ancestors(stages: Mapping[str, Recipe]) -> dict[str, set[str]]:
    """Stage → all stages that must be done before it."""
    found: dict[str, set[str]] = {}

    def of(name: str) -> set[str]:
        if name not in found:
            found[name] = set()  # the check has refused circles
            direct = needs_of(stages[name]) if name in stages else set()
            found[name] = direct.union(*(of(other) for other in direct))
        return found[name]

    for name in stages:
        of(name)
    return found


def _makers(data: Iterable[str], before: Mapping[str, set[str]]) -> set[str]:
    """The stages that have to run for some data to be there."""
    made = {target[0] for item in data for kind, target in tokens.found_in(item) if kind == "stage"}
    return made.union(*(before.get(name, set()) for name in made))


def look(plan: Plan) -> list[tuple[str, dict[str, Any]]]:
    """Compare now what is there now, for `plan`: each comparison that would run, with its report.

    Sets of which a file is still to be made, and sets of more than 64 MB, are left to the stage.
    """
    found = []
    for stage in plan.stages:
        if stage.kind == NAME and stage.action != "reuse" and (there := _there(stage)):
            found.append((stage.name, _compare(stage, there)))
    return found


def _there(stage: PlannedStage) -> dict[str, dict[str, list[str]]] | None:
    from residency.engines.contamination import engine, spec

    try:
        sets = engine.sets(stage.job)
    except ResidencyError:
        return None
    made = {
        key: {n: p for n, p in sets[key].items() if all(Path(x).is_file() for x in p)} for key in spec.SETS
    }
    files = {path for key in spec.SETS for paths in made[key].values() for path in paths}
    if not all(made.values()) or sum(Path(path).stat().st_size for path in files) > LOOK_BYTES:
        return None
    return made


def _compare(stage: PlannedStage, sets: Mapping[str, Any]) -> dict[str, Any]:
    import tempfile

    from residency.engines.contamination import main  # numpy comes with it
    from residency.engines.contamination.engine import KEYS

    config = stage.job.config
    said = {**sets, **{key: config[key] for key in KEYS if config.get(key)}}
    with tempfile.TemporaryDirectory() as folder:
        return main.run(said, Path(folder))
