"""Checks a function that is called with values by name, as verl calls a reward function.

The schema lists the names; a function takes those that it has parameters for. One that is marked
as `batched` takes lists, under the names' plurals: `solution_strs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, Scalar
from residency.recipe.schema import validate
from residency.recipe.suggest import closest

NEEDED = 1
"""Of the names, the second must have a parameter: the answer that is scored."""


def check_keywords(
    path: str,
    node: Scalar,
    args: Mapping | None,
    names: Sequence[str],
    answer: dict[str, Any],
    found: Diagnostics,
) -> None:
    """Say what does not fit, code `bad-arguments` and those of a schema for a value.

    Args:
        path: The function's dotted path.
        node: Where the recipe names it.
        args: The further arguments that the recipe gives.
        names: The names of the values that it is called with.
        answer: What `residency.recipe.dotted_probe.probe` found.
        found: Takes the diagnostics.
    """
    parameters = answer["parameters"]
    if parameters is None:
        return  # a signature that Python does not know
    if answer.get("batched"):
        names = [f"{name}s" for name in names]
    anything = any(kind == "VAR_KEYWORD" for _, kind, _ in parameters)
    by_name = {name for name, kind, _ in parameters if kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")}
    if names[NEEDED] not in by_name and not anything:
        near = closest(names[NEEDED], by_name - set(names))
        hint = f"rename `{near[0]}`" if near else f"it is called with {', '.join(names)}, by name"
        found.add("bad-arguments", f"`{path}` has no parameter `{names[NEEDED]}`", node, hint=hint)
    entries = args.entries if args is not None else {}
    options = sorted(by_name - set(names))
    for key, entry in entries.items():
        if key in names:
            message = f"`{key}` of `{path}` is given with each answer, not by the recipe"
            found.add("bad-arguments", message, entry.key_span, hint="leave it out")
        elif key not in by_name and not anything:
            near = closest(key, options)
            hint = f"did you mean `{near[0]}`?" if near else "it takes " + (", ".join(options) or "none")
            found.add("bad-arguments", f"`{path}` takes no argument `{key}`", entry.key_span, hint=hint)
        elif key in answer.get("values", {}):
            validate(entry.value, answer["values"][key], found, name=key, key_span=entry.key_span)
    for name, kind, has_default in parameters:
        if has_default or kind in ("VAR_POSITIONAL", "VAR_KEYWORD"):
            continue
        if kind == "POSITIONAL_ONLY":
            message = f"`{path}` takes `{name}` by place alone, and is called by name"
            found.add("bad-arguments", message, node, hint="remove the `/` from its parameters")
        elif name not in entries and name not in names:
            message = f"`{path}` needs the argument `{name}`"
            hint = f"write it as {{fn: {path}, args: {{{name}: …}}}}"
            found.add("bad-arguments", message, node, hint=hint)
