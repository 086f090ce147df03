"""From checked recipes to a plan: order, fingerprints, what is reused, commands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from residency import stages as kinds
from residency.engines.base import Job
from residency.errors import Missing, RecipeInvalid
from residency.paths import PROJECT
from residency.plan import fingerprint as fp
from residency.plan import machine
from residency.plan.functions import RECIPE_PACKAGES
from residency.plan.guard import NAME as GUARD
from residency.plan.hashing import FileHashes
from residency.plan.model import Action, Plan, PlannedService, PlannedStage
from residency.plan.services import fill, parts_of, plan_service
from residency.recipe import tokens
from residency.recipe.model import Recipe, Service
from residency.recipe.pipeline import needs as needs_of
from residency.recipe.suggest import closest

GIB = 1 << 30


class Choice(Protocol):
    """What the store says of a stage with a given fingerprint."""

    @property
    def key(self) -> str:
        """The name of its folder."""

    @property
    def folder(self) -> Path:
        """Where it lies, or will lie."""

    @property
    def action(self) -> Literal["reuse", "resume", "run"]:
        """What there is to do."""

    @property
    def reason(self) -> str:
        """Why, in a few words; empty when nothing of that fingerprint was ever begun."""


class Store(Protocol):
    """The store of stages, as far as planning needs it."""

    def choose(self, kind: str, fingerprint: str, *, fresh: bool = False) -> Choice:
        """Reuse what finished, else go on with what was begun, else run; `fresh`: run in a new folder."""


Previous = Callable[[str], Mapping[str, str] | None]
"""Stage name → the fingerprint's parts of that stage in the recipe's latest run."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which stages the user wants to run."""

    only: str | None = None
    start: str | None = None
    """`--from`: this stage and those that depend on it run anew."""
    fresh: bool = False


def build(
    recipe: Recipe,
    stages: Mapping[str, Recipe],
    *,
    store: Store,
    previous: Previous = lambda stage: None,
    hashes: FileHashes,
    selection: Selection = Selection(),
    profiles: Sequence[str] = (),
    overrides: Sequence[str] = (),
    trust: Sequence[str] = (),
    project: Path = PROJECT,
) -> Plan:
    """Plan a checked recipe.

    Raises:
        RecipeInvalid: `--only` or `--from` names no stage.
        Missing: `--only` leaves out a stage that never finished but is needed.
    """
    order = in_order(stages)
    for option, name in (("--only", selection.only), ("--from", selection.start)):
        if name is not None and name not in stages:
            raise RecipeInvalid(f"{option} {name}: there is no such stage", _meant(name, order))
    chosen = _with_guards(selection.only, stages) if selection.only else set(order)
    anew = set(order) if selection.fresh else _after(selection.start, stages)
    plan = Plan(recipe, [], tuple(profiles), tuple(overrides))
    made: dict[str, PlannedStage] = {}
    roots = (project,)
    packages = (*RECIPE_PACKAGES, *trust)
    services: dict[str, PlannedService] = {}
    for name in order:
        for used in stages[name].uses.values():
            if used.name not in services:
                services[used.name] = _plan_service(
                    used, services, made, hashes=hashes, roots=roots, packages=packages, project=project
                )
        wanted = name in chosen
        planned = _plan_stage(
            name,
            stages[name],
            made,
            services,
            anew=name in anew and wanted,
            fresh=selection.fresh and wanted,
            wanted=wanted,
            store=store,
            previous=previous,
            hashes=hashes,
            roots=roots,
            packages=packages,
            project=project,
        )
        made[name] = planned
        plan.stages.append(planned)
    hashes.save()
    plan.services = list(services.values())
    plan.warnings += memory_warnings(plan, machine.gpus())
    if selection.only:
        _refuse_unfinished(made, selection.only, chosen)
    return plan


def _plan_stage(
    name: str,
    recipe: Recipe,
    made: Mapping[str, PlannedStage],
    services: Mapping[str, PlannedService],
    *,
    anew: bool,
    fresh: bool,
    wanted: bool,
    store: Store,
    previous: Previous,
    hashes: FileHashes,
    roots: tuple[Path, ...],
    packages: tuple[str, ...],
    project: Path,
) -> PlannedStage:
    kind = kinds.get(recipe.kind)
    config = recipe.config
    engine = kind.engine(config)
    inputs = kind.inputs(config, recipe.folder, project)
    needs = tuple(sorted(needs_of(recipe)))
    version = engine.version()
    gpus = _gpus(config, recipe.kind)
    found = fp.parts(
        config,
        inputs,
        engine=engine.name,
        engine_version=version,
        stage_key=lambda stage: made[stage].key,
        hashes=hashes,
        recipe_folder=recipe.folder,
        roots=roots,
        packages=packages,
        gpus=_counted(gpus, recipe.kind),
    )
    for used in recipe.uses:
        found |= parts_of(services[used])
    digest = fp.fingerprint(found)
    action, reason, key, folder = _choose(
        recipe.kind, digest, name, found, needs, made, store, previous, anew=anew, fresh=fresh
    )
    if not wanted and action != "reuse":
        action, reason = "skip", "left out"
    config.pop("services", None)
    resolved = fill(tokens.replace(config, lambda token: _concrete(token, made)), _known(services))
    job = Job(
        name=name,
        kind=recipe.kind,
        config=resolved,
        folder=folder,
        recipe_folder=recipe.folder,
        project=project,
        datasets=_datasets(made.values()),
        gpus=gpus,
        threads=_threads(config),
    )
    return PlannedStage(
        name=name,
        kind=recipe.kind,
        recipe=recipe,
        needs=needs,
        fingerprint=digest,
        parts=found,
        key=key,
        folder=folder,
        action=action,
        reason=reason,
        engine=engine,
        job=job,
        launch=engine.prepare(job),
        outputs=kind.outputs(config),
        secrets=_secrets(config),
        memory=engine.estimate(job),
        services=tuple(recipe.uses),
    )


def _plan_service(
    service: Service,
    services: Mapping[str, PlannedService],
    made: Mapping[str, PlannedStage],
    *,
    hashes: FileHashes,
    roots: tuple[Path, ...],
    packages: tuple[str, ...],
    project: Path,
) -> PlannedService:
    config = service.recipe.config
    return plan_service(
        service,
        made=services,
        stage_key=lambda stage: made[stage].key,
        concrete=lambda token: fill(_concrete(token, made), _known(services)),
        hashes=hashes,
        roots=roots,
        packages=packages,
        project=project,
        gpus=_gpus(config, service.recipe.kind),
        threads=_threads(config),
        secrets=_secrets(config),
    )


def _known(services: Mapping[str, PlannedService]) -> dict[str, str]:
    """The addresses that are known before anything starts."""
    return {service.name: service.url for service in services.values() if service.url is not None}


def _threads(config: Mapping[str, Any]) -> int:
    return int((config.get("resources") or {}).get("cpus") or machine.cpu_count())


def _choose(
    kind: str,
    digest: str,
    name: str,
    found: Mapping[str, str],
    needs: tuple[str, ...],
    made: Mapping[str, PlannedStage],
    store: Store,
    previous: Previous,
    *,
    anew: bool,
    fresh: bool,
) -> tuple[Action, str, str, Path]:
    """What to do with a stage, why, and in which folder."""
    choice = store.choose(kind, digest, fresh=fresh)
    if anew and choice.action == "reuse":
        # --from: what finished is made again; what was only begun goes on.
        choice = store.choose(kind, digest, fresh=True)
    if anew and choice.action == "run":
        return "run", "asked to run anew", choice.key, choice.folder
    why = choice.reason
    if choice.action == "run" and not why:
        before = previous(name)
        why = "not run before" if before is None else fp.difference(before, found)
        if not why:
            rerun = [stage for stage in needs if made[stage].action != "reuse"]
            why = f"`{rerun[0]}` runs anew" if rerun else "its earlier outputs are gone"
    return choice.action, why, choice.key, choice.folder


def in_order(stages: Mapping[str, Recipe]) -> list[str]:
    """The stages so that each comes after those it needs, else as they are written."""
    done: list[str] = []
    left = list(stages)
    while left:
        ready = next((name for name in left if needs_of(stages[name]) <= set(done)), None)
        if ready is None:
            raise RecipeInvalid(f"the stages {', '.join(left)} wait for each other")
        done.append(ready)
        left.remove(ready)
    return done


def _after(start: str | None, stages: Mapping[str, Recipe]) -> set[str]:
    """`start` and every stage that depends on it, directly or not."""
    if start is None:
        return set()
    found = {start}
    for name in in_order(stages):
        if needs_of(stages[name]) & found:
            found.add(name)
    return found


def _concrete(token: str, made: Mapping[str, PlannedStage]) -> str:
    kind, target = tokens.parse(token)
    if kind != "stage":
        return tokens.make(token)
    stage, key = target
    return str(made[stage].job.outputs / made[stage].outputs[key].path)


def _datasets(made: Iterable[PlannedStage]) -> dict[str, Mapping[str, Any]]:
    return {
        str(stage.job.outputs / output.path): output.dataset
        for stage in made
        for output in stage.outputs.values()
        if output.dataset is not None
    }


def _secrets(config: Mapping[str, Any]) -> dict[str, str]:
    """Environment variable → the variable that holds the secret, from `env: {A: ${secret:B}}`."""
    found = {}
    for variable, value in (config.get("env") or {}).items():
        for kind, target in tokens.found_in(value):
            if kind == "secret":
                found[str(variable)] = target[0]
    return found


ON_GPU = frozenset({"sft", "evaluate", "rlvr", "generate", "verifier", "index"})
TRAINS = frozenset({"sft", "rlvr"})
TAKES_ALL = TRAINS | {"index"}


def _gpus(config: Mapping[str, Any], kind: str) -> int:
    """GPUs that a stage asks for: what the recipe or its engine's block says; else all to train or encode,
    one for the rest.
    """
    asked = (config.get("resources") or {}).get("gpus")
    if asked is not None:
        return int(asked)
    if kind not in ON_GPU or config.get("endpoint"):  # its model is on the server's GPUs
        return 0
    there = machine.gpu_count()
    named = kinds.get(kind).engine(config).gpus(config, there) if kind in kinds.names() else None
    if named is not None:
        return named
    return there if kind in TAKES_ALL else min(1, there)


def _counted(gpus: int, kind: str) -> int:
    """How many GPUs count for a stage's result.

    All of them for training, whose batch grows with each; for the rest whether there is one:
    a GPU rounds otherwise than a CPU, and several share the same rows out.
    """
    return gpus if kind in TRAINS else min(1, gpus) if kind in ON_GPU else 0


def memory_warnings(plan: Plan, gpus: Sequence[machine.Gpu]) -> list[str]:
    """A warning for each stage to run that is expected not to fit into this machine's smallest GPU."""
    there = min((gpu.memory for gpu in gpus), default=None)
    found = []
    for stage in plan.stages:
        if there is None or stage.memory is None or not stage.job.gpus or stage.action in ("reuse", "skip"):
            continue
        if stage.memory.total > there:
            advice = f"; try {stage.memory.advice[0]}" if stage.memory.advice else ""
            found.append(
                f"stage {stage.name} is expected to need {stage.memory.total / GIB:.0f} GiB of GPU memory, "
                f"and a GPU here has {there / GIB:.0f} GiB{advice}"
            )
    return found


def _with_guards(only: str, stages: Mapping[str, Recipe]) -> set[str]:
    """The stage of `--only`, and the comparisons that must stand before it: nobody wrote them."""
    return {only, *(name for name in needs_of(stages[only]) if stages[name].kind == GUARD)}


def _refuse_unfinished(made: Mapping[str, PlannedStage], only: str, chosen: set[str]) -> None:
    missing = [n for name in made if name in chosen for n in made[name].needs if made[n].action == "skip"]
    if missing:
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(missing))
        raise Missing(
            f"--only {only}: it needs {names}, which has not finished",
            f"run without --only, or --only {missing[0]} first",
        )


def _meant(name: str, order: Sequence[str]) -> str:
    guess = closest(name, order)
    return (f"did you mean `{guess[0]}`? " if guess else "") + "the stages are " + ", ".join(order)
