"""Everything that can be known of a recipe before compute is spent, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from residency import stages as kinds
from residency.engines.base import CheckContext
from residency.paths import PROJECT
from residency.plan import machine, other_profiles
from residency.recipe import kind_schema, schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted import check_dotted_paths
from residency.recipe.load import load
from residency.recipe.model import Recipe, Service
from residency.recipe.pipeline import alone, expand
from residency.recipe.suggest import closest

PIPELINE = "pipeline"
SERVE = "serve"


@dataclass(slots=True)
class Checked:
    """A recipe with its stages and what was found wrong with them."""

    recipe: Recipe | None
    stages: dict[str, Recipe] = field(default_factory=dict)
    """The stages by name; a recipe that is no pipeline is one stage, named by its kind."""
    found: Diagnostics = field(default_factory=Diagnostics)
    services: dict[str, Service] = field(default_factory=dict)
    """All services, of the pipeline and of its stages, by name."""

    @property
    def parts(self) -> list[Recipe]:
        """The recipes that are checked each by itself: the stages, and the services that are started."""
        started = [service.recipe for service in self.services.values() if service.url is None]
        return [*self.stages.values(), *started]


def check(
    path: Path,
    *,
    profiles: Sequence[str] = (),
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    project: Path = PROJECT,
    cwd: Path | None = None,
) -> Checked:
    """Load, resolve and check a recipe and, for a pipeline, each of its stages.

    The profiles that are not chosen are checked too: what is wrong in their own text is found,
    as far as it does not depend on the machine.

    Args:
        path: The recipe's file.
        profiles: Names given by `--profile`, later ones win.
        overrides: `a.b=c` texts given by `--set`.
        trust: Packages given by `--trust`.
        project: The folder with dataset_info.json, rewards/, processors/, schemas/.
        cwd: Where the command was given; default is the current folder.
    """
    context = CheckContext(project, cwd or Path.cwd(), tuple(trust), machine.gpu_count())
    given = _Given(path, tuple(overrides), context)
    checked = _check(given, tuple(profiles))
    for name, texts in other_profiles.declared([checked.recipe, *checked.parts]).items():
        if name not in profiles:
            checked.found.extend(other_profiles.within(texts, _check(given, (name,)).found))
    return checked


@dataclass(frozen=True, slots=True)
class _Given:
    """What a check was asked, but for the profiles."""

    path: Path
    overrides: tuple[str, ...]
    context: CheckContext


def _check(given: _Given, profiles: tuple[str, ...]) -> Checked:
    """Check the recipe with these profiles."""
    context, project, cwd = given.context, given.context.project, given.context.cwd
    shared = project / "recipes" / "profiles"
    recipe, found = load(
        given.path, profiles=profiles, overrides=given.overrides, shared_profiles=shared, cwd=cwd
    )
    checked = Checked(recipe, {}, found)
    if recipe is None:
        return checked
    if recipe.kind == PIPELINE:
        schema.validate(recipe.tree, kind_schema.load_pipeline(project / "schemas"), found)
        checked.stages, checked.services, more = expand(
            recipe, profiles=profiles, shared_profiles=shared, cwd=cwd
        )
    else:
        checked.stages = {recipe.kind: recipe}
        checked.services, more = alone(recipe, profiles=profiles, shared_profiles=shared, cwd=cwd)
    if any(item.code == "unknown-service" for item in found):
        # What is misspelt there is perhaps what seems unused here.
        more = Diagnostics([item for item in more if item.code != "unused-service"], more.sources)
    found.extend(more)
    for stage in checked.parts:
        _check_stage(stage, context, found)
    _check_servers(checked, found)
    _check_outputs(checked, found)
    answers = check_dotted_paths(checked.parts, context, found)
    for stage in checked.parts:
        if stage.kind in kinds.names():
            kinds.get(stage.kind).check_functions(stage, answers, found)
    return checked


def _check_schema(recipe: Recipe, project: Path, found: Diagnostics) -> None:
    described = kind_schema.load(recipe.kind, project / "schemas")
    if described is not None:
        name, key_span = recipe.stage or ("", None)
        schema.validate(recipe.tree, described, found, name=name, key_span=key_span)


def _check_stage(recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    _check_schema(recipe, context.project, found)
    try:
        kind = kinds.get(recipe.kind)
    except KeyError:
        return  # the schema check has said so
    kind.check(recipe, context, found)
    kind.engine(recipe.config).check(recipe, context, found)


def _check_servers(checked: Checked, found: Diagnostics) -> None:
    """A server never ends, so that it cannot be a stage of a pipeline."""
    if checked.recipe is None or checked.recipe.kind != PIPELINE:
        return
    for name, stage in checked.stages.items():
        if stage.kind == SERVE:
            short = name.rpartition("/")[2]
            found.add(
                "server-as-stage",
                f"stage `{short}` is a server, which never ends",
                stage.stage[1] if stage.stage else stage.tree.get("kind") or stage.tree,
                hint=f"put it under `services:`, and name it where it is used: ${{services.{short}.url}}",
            )


def _check_outputs(checked: Checked, found: Diagnostics) -> None:
    """Each reference names an output that its stage leaves."""
    for recipe in checked.parts:
        for reference in recipe.references:
            if reference.kind != "stage" or len(reference.target) != 2:
                continue
            stage, key = reference.target
            source = checked.stages.get(stage)
            if source is None:
                continue  # said by the pipeline's own check
            try:
                outputs = kinds.get(source.kind).outputs(source.config)
            except KeyError:
                continue
            if key in outputs:
                continue
            guess = closest(key, outputs)
            hint = f"did you mean `{guess[0]}`? " if guess else ""
            if key == "model" and "adapter" in outputs:
                hint = "LoRA leaves an adapter: use `outputs.adapter`, or merge it in an `export` stage; "
            found.add(
                "unknown-output",
                f"stage `{stage}` leaves no output `{key}`",
                reference.span,
                hint=hint + "it leaves: " + (", ".join(f"`{name}`" for name in outputs) or "nothing"),
            )
