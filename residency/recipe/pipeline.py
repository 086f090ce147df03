"""A pipeline's stages: each one's recipe loaded, with what the pipeline passes and lays over it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from residency.paths import PROJECT
from residency.recipe import kinds as known_kinds
from residency.recipe import services
from residency.recipe.children import Children
from residency.recipe.compose import report_unknown_profile, shared_names
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe, Reference, Service
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Span
from residency.recipe.nodes import Sequence as List
from residency.recipe.suggest import did_you_mean

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def expand(
    recipe: Recipe,
    *,
    profiles: Sequence[str] = (),
    shared_profiles: Path | None = None,
    cwd: Path | None = None,
    kinds: Collection[str] | None = None,
) -> tuple[dict[str, Recipe], dict[str, Service], Diagnostics]:
    """Load the recipe of every stage of a pipeline, and of every service.

    Args:
        recipe: A pipeline, as `load` gave it.
        profiles: Names given by `--profile`. Each must be known to the pipeline, to one of its
            recipes, or to all; a recipe that does not know it passes over it.
        shared_profiles: The folder of profiles shared by all.
        cwd: Where the command was given.
        kinds: The kinds that there are.

    Returns:
        Stage's name → recipe, each after the stages that it needs (in a circle: as written),
        the services by name, and what is wrong. The stages of a pipeline inside this one are named
        `outer/inner`, the services of a stage's own recipe likewise.
    """
    shared = shared_profiles or PROJECT / "recipes" / "profiles"
    expansion = _Expansion(Children(tuple(profiles), shared, cwd, kinds, Diagnostics()))
    expansion.expand(recipe, "", (recipe.path,), ())
    expansion.check_profiles()
    services.link(list(expansion.stages.values()), expansion.services, expansion.found)
    return expansion.ordered(), expansion.services, expansion.found


def alone(
    recipe: Recipe,
    *,
    profiles: Sequence[str] = (),
    shared_profiles: Path | None = None,
    cwd: Path | None = None,
    kinds: Collection[str] | None = None,
) -> tuple[dict[str, Service], Diagnostics]:
    """Load the services of a recipe that is no pipeline; arguments as those of `expand`."""
    shared = shared_profiles or PROJECT / "recipes" / "profiles"
    children = Children(tuple(profiles), shared, cwd, kinds, Diagnostics())
    found = services.declared(recipe, "", children)
    services.link([recipe], found, children.found)
    return found, children.found


def needs(recipe: Recipe) -> set[str]:
    """The stages that a recipe needs: those whose outputs it or its services use, those `needs:` names."""
    return {ref.target[0] for ref in stage_references(recipe)} | set(recipe.needs)


def stage_references(recipe: Recipe) -> list[Reference]:
    """Where a recipe, or a service that it uses, uses another stage's output."""
    holders = [recipe, *(service.recipe for service in recipe.uses.values())]
    return [ref for holder in holders for ref in holder.references if ref.kind == "stage"]


@dataclass
class _Expansion:
    """One pipeline being expanded."""

    children: Children
    stages: dict[str, Recipe] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    """A stage that is a pipeline → its stages."""
    places: dict[str, Span] = field(default_factory=dict)
    """Stage → where its name is written."""
    named: dict[tuple[str, str], Span] = field(default_factory=dict)
    """(stage, needed stage) → where the need is written."""
    failed: set[str] = field(default_factory=set)
    """Stages whose recipe cannot be used."""

    @property
    def found(self) -> Diagnostics:
        """Takes every mistake."""
        return self.children.found

    def expand(
        self, pipeline: Recipe, scope: str, chain: tuple[Path, ...], inherited: tuple[str, ...]
    ) -> None:
        """Load the stages of a pipeline; `scope` stands before their names."""
        self.children.known_profiles.update(pipeline.profiles)
        self.services |= services.declared(pipeline, scope, self.children)
        stages = pipeline.tree.get("stages")
        if not isinstance(stages, Mapping):
            return  # The schema says what `stages` must be.
        for name, entry in stages.entries.items():
            self._stage(pipeline, scope, name, entry, stages, chain, inherited)

    def _stage(
        self,
        pipeline: Recipe,
        scope: str,
        name: str,
        entry: Entry,
        siblings: Mapping,
        chain: tuple[Path, ...],
        inherited: tuple[str, ...],
    ) -> None:
        node = entry.value
        full = scope + name
        self.places[full] = entry.key_span
        if not NAME.fullmatch(name):
            self.found.add(
                "bad-key",
                f"`{name}` is no name for a stage",
                entry.key_span,
                hint="a name has letters, digits, - and _, and starts with a letter",
            )
        if not isinstance(node, Mapping):
            self.failed.add(full)
            self.found.add(
                "wrong-type",
                f"stage `{name}` must be a mapping of keys",
                node,
                hint=f"write `{name}: {{recipe: FILE}}`",
            )
            return
        needed = (*inherited, *self._needs(full, scope, node.get("needs"), siblings))
        child = self.children.load(pipeline, entry, siblings, full)
        if child is None:
            self.failed.add(full)
            return
        if child.kind != known_kinds.PIPELINE:
            child.needs = needed
            self.stages[full] = child
            self.services |= services.declared(child, full + "/", self.children)
            return
        if child.path in chain and not node.get("kind"):
            shown = " → ".join(part.name for part in (*chain, child.path))
            self.found.add("circular-stages", f"a pipeline holds itself: {shown}", node.get("recipe") or node)
            self.failed.add(full)
            return
        before = list(self.stages)
        self.expand(child, full + "/", (*chain, child.path), needed)
        self.groups[full] = [stage for stage in self.stages if stage not in before]

    def _needs(self, full: str, scope: str, node: Node | None, siblings: Mapping) -> list[str]:
        """The stages that `needs:` of one entry names."""
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return []
        wanted = []
        for item in node.items if isinstance(node, List) else [node]:
            name = item.value if isinstance(item, Scalar) else None
            if not isinstance(name, str):
                self.found.add("wrong-type", "`needs` must be a list of names of stages", item)
            elif name not in siblings.entries:
                self.found.add(
                    "unknown-stage",
                    f"there is no stage `{name}`",
                    item,
                    hint=did_you_mean(name, siblings.entries)
                    or "the stages are " + ", ".join(f"`{n}`" for n in siblings.entries),
                )
            else:
                wanted.append(scope + name)
                self.named[full, scope + name] = item.span
        return wanted

    def check_profiles(self) -> None:
        """Report profiles that no recipe of the pipeline knows."""
        known = {*self.children.known_profiles, *shared_names(self.children.shared)}
        for name in self.children.profiles:
            # With a stage that could not be read nobody knows what it declares.
            if name not in known and not self.failed:
                report_unknown_profile(name, known, self.found)

    def ordered(self) -> dict[str, Recipe]:
        """The stages, each after those that it needs; reports needs that cannot be met."""
        edges: dict[str, list[str]] = {}
        for name, recipe in self.stages.items():
            wanted: list[str] = []
            for other in recipe.needs:
                wanted.extend(self.groups.get(other, [other]))
            recipe.needs = tuple(dict.fromkeys(other for other in wanted if other in self.stages))
            for reference in stage_references(recipe):
                self.named.setdefault((name, reference.target[0]), reference.span)
                if self._meets(name, reference.target[0], reference.span):
                    wanted.append(reference.target[0])
            edges[name] = [other for other in dict.fromkeys(wanted) if other in self.stages]
        order: list[str] = []
        state: dict[str, str] = {}
        for name in self.stages:
            self._visit(name, edges, state, order, [])
        return {name: self.stages[name] for name in order}

    def _meets(self, stage: str, other: str, where: Span) -> bool:
        """True when `other` is a stage; reports what is none."""
        if other in self.stages or other in self.failed:
            return other in self.stages
        if other in self.groups:
            inner = self.groups[other][-1].removeprefix(other + "/") if self.groups[other] else "STAGE"
            self.found.add(
                "unknown-stage",
                f"`{other}` is a pipeline and has no outputs of its own",
                where,
                hint=f"name one of its stages: ${{stages.{other}.{inner}.outputs.OUTPUT}}",
            )
        elif not any(other.startswith(failed + "/") for failed in self.failed):
            hint = did_you_mean(other, self.stages)
            self.found.add("unknown-stage", f"there is no stage `{other}`", where, hint=hint)
        return False

    def _visit(
        self,
        name: str,
        edges: dict[str, list[str]],
        state: dict[str, str],
        order: list[str],
        chain: list[str],
    ) -> None:
        """Depth first: put a stage behind those that it needs; reports circles."""
        state[name] = "open"
        chain.append(name)
        for other in edges[name]:
            if other not in state:
                self._visit(other, edges, state, order, chain)
            elif state[other] == "open":
                self._circle(chain[chain.index(other) :])
        chain.pop()
        state[name] = "done"
        order.append(name)

    def _circle(self, circle: list[str]) -> None:
        circle = [*circle, circle[0]]
        places = [
            (f"`{one}` needs `{two}`", self.named.get((one, two), self.places[one]))
            for one, two in itertools.pairwise(circle)
        ]
        where = places[0][1]
        if len(places) == 1:
            self.found.add(
                "circular-stages",
                f"stage `{circle[0]}` needs itself",
                where,
                hint="a stage can use only what other stages leave",
            )
            return
        shown = " → ".join(circle)
        self.found.add(
            "circular-stages", f"stages need one another in a circle: {shown}", where, notes=places[1:]
        )
