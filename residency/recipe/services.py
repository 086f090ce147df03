"""`services:` of recipes: long-lived processes that stages need, such as a retrieval server."""

from __future__ import annotations

import itertools
from collections import abc
from urllib.parse import urlsplit

from residency.recipe import kind_schema, schema
from residency.recipe.children import Children
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe, Service
from residency.recipe.nodes import Mapping, Scalar, Span
from residency.recipe.tokens import references

KIND = "serve"
"""The kind of a recipe that can be a service."""


def declared(holder: Recipe, scope: str, children: Children) -> dict[str, Service]:
    """The services that a recipe declares, with those that their own recipes declare.

    Args:
        holder: The recipe: a stage, a pipeline, or a service.
        scope: What stands before their names: `grpo/` for those of the stage `grpo`.
        children: Loads their recipes, and takes what is wrong.
    """
    block = holder.tree.get("services")
    found: dict[str, Service] = {}
    if not isinstance(block, Mapping):
        return found  # the schema says what it must be
    for name, entry in block.entries.items():
        node, full = entry.value, f"{scope}{name}"
        if not isinstance(node, Mapping):
            continue
        if "url" in node.entries:
            url = _external(node, entry.key_span, children.found)
            if url is not None:
                recipe = Recipe(holder.path, KIND, str(name), node, references=list(references(node)))
                found[full] = Service(full, recipe, entry.key_span, url)
            continue
        child = children.load(holder, entry, block, full, "service")
        if child is None:
            continue
        if child.kind != KIND:
            where = node.get("recipe") or child.tree.get("kind") or entry.key_span
            children.found.add(
                "not-a-service",
                f"service `{name}` is a recipe of kind `{child.kind}`, which ends by itself",
                where,
                hint="a service is a recipe of kind `serve`; what ends by itself is a stage",
            )
            continue
        found[full] = Service(full, child, entry.key_span)
        found |= declared(child, full + "/", children)
    return found


def _external(node: Mapping, key_span: Span, found: Diagnostics) -> str | None:
    """The address of a service that runs anyway; None when it is not known."""
    given = next((key for key in ("recipe", "kind", "extends") if key in node.entries), None)
    if given is not None:
        found.add(
            "conflicting-keys",
            f"`url` and `{given}` are given: a service that runs already is not started",
            node.entries["url"].key_span,
            hint="leave one of them out",
            notes=[("also given here", node.entries[given].key_span)],
        )
        return None
    before = len(found.items)
    schema.validate(node, kind_schema.external_service(), found, name="service", key_span=key_span)
    url = node.get("url")
    if len(found.items) > before or not isinstance(url, Scalar) or not isinstance(url.value, str):
        return None
    try:
        parts = urlsplit(url.value)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable:
        found.add("bad-url", f"`{url.value}` is no address of a service", url, hint="write http://HOST:PORT")
        return None
    return url.value.rstrip("/")


def link(recipes: abc.Iterable[Recipe], services: abc.Mapping[str, Service], found: Diagnostics) -> None:
    """Give every recipe the services that it uses, and report those that nobody uses or that need each other.

    Args:
        recipes: The stages.
        services: All that are declared, by name.
        found: Takes the mistakes.
    """
    order: list[str] = []
    state: dict[str, str] = {}
    for name in services:
        if name not in state:
            _visit(name, services, state, order, [], found)
    wanted: set[str] = set()
    for recipe in (*recipes, *(service.recipe for service in services.values())):
        used = _closure(recipe, services)
        recipe.uses = {name: services[name] for name in order if name in used}
    for recipe in recipes:
        wanted.update(recipe.uses)
    for name, service in services.items():
        if name not in wanted and name.rpartition("/")[0] not in services:
            short = name.rpartition("/")[2]
            found.add(
                "unused-service",
                f"no stage uses the service `{short}`, so that it is never started",
                service.span,
                severity="warning",
                hint=f"a stage uses it that holds ${{services.{short}.url}}",
            )


def used_directly(recipe: Recipe) -> list[str]:
    """The services whose address stands in a recipe."""
    return list(dict.fromkeys(ref.target[0] for ref in recipe.references if ref.kind == "service"))


def _closure(recipe: Recipe, services: abc.Mapping[str, Service]) -> set[str]:
    """The services that a recipe uses, and those that they use."""
    found: set[str] = set()
    pending = used_directly(recipe)
    while pending:
        name = pending.pop()
        if name in services and name not in found:
            found.add(name)
            pending += used_directly(services[name].recipe)
    return found


def _visit(
    name: str,
    services: abc.Mapping[str, Service],
    state: dict[str, str],
    order: list[str],
    chain: list[str],
    found: Diagnostics,
) -> None:
    """Depth first: put a service behind those that it uses; reports circles."""
    state[name] = "open"
    chain.append(name)
    for other in used_directly(services[name].recipe):
        if other not in services:
            continue
        if other not in state:
            _visit(other, services, state, order, chain, found)
        elif state[other] == "open":
            circle = [*chain[chain.index(other) :], other]
            places = [
                next(ref.span for ref in services[one].recipe.references if ref.target[:1] == (two,))
                for one, two in itertools.pairwise(circle)
            ]
            shown = " → ".join(circle)
            found.add(
                "circular-services",
                f"services need one another in a circle: {shown}",
                places[0],
                notes=[
                    (f"`{one}` needs `{two}`", place)
                    for (one, two), place in list(zip(itertools.pairwise(circle), places, strict=True))[1:]
                ],
            )
    chain.pop()
    state[name] = "done"
    order.append(name)
