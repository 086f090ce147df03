"""What is wrong in the profiles that a check did not choose.

Each is chosen for once, alone, and of what is found then only errors that point into its own text
are kept: the rest is the recipe's, or comes of a profile that is not all that a run would have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Node, Sequence, Span

NOT_THERE_YET = frozenset(
    {
        "missing-file",
        "missing-package",
        "model-missing",
        "needs-gpu",
        "needs-use-cpu",
        "output-dir-in-use",
        "undefined-interpolation",
    }
)
"""Codes that depend on the machine, or on a profile that is meant to be given beside it."""


def declared(recipes: Iterable[Recipe | None]) -> dict[str, list[Mapping]]:
    """Name → the overlays of that name, in the recipes and in the pipeline that holds them."""
    found: dict[str, list[Mapping]] = {}
    for recipe in recipes:
        for name, overlay in (recipe.profiles if recipe is not None else {}).items():
            found.setdefault(name, []).append(overlay)
    return found


def within(overlays: Iterable[Mapping], found: Diagnostics) -> Diagnostics:
    """The errors that point into the overlays' own text."""
    places = [span for overlay in overlays for span in _spans(overlay)]
    errors = [item for item in found if item.severity == "error" and item.code not in NOT_THERE_YET]
    return Diagnostics([item for item in errors if _inside(item, places)], found.sources)


def _spans(node: Node) -> Iterator[Span]:
    """Every place where a key or a value of a tree is written."""
    if isinstance(node, Mapping):
        for entry in node.entries.values():
            yield entry.key_span
            yield from _spans(entry.value)
    elif isinstance(node, Sequence):
        yield node.span
        for item in node.items:
            yield from _spans(item)
    else:
        yield node.span


def _inside(item: Diagnostic, places: Iterable[Span]) -> bool:
    start, end = (item.span.line, item.span.column), (item.span.end_line, item.span.end_column)
    return any(
        item.span.file == place.file
        and (place.line, place.column) <= start
        and end <= (place.end_line, place.end_column)
        for place in places
    )
