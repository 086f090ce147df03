"""Rules of `tools:`: names that a model can tell apart, a format that verl can read, no key twice.

That each path leads to a function that a model can be told of, `residency.recipe.dotted` checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from residency.engines.verl.tools import FORMATS, ROLLOUT
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence
from residency.recipe.suggest import closest

_MULTI, _AGENT = f"{ROLLOUT}.multi_turn", f"{ROLLOUT}.agent"
_SET = {
    f"{_MULTI}.function_tool_path": "the launcher writes this file from `tools:`",
    f"{_AGENT}.agent_loop_config_path": "the launcher writes this file, which keeps answers apart from "
    "what tools say",
    f"{_AGENT}.default_agent_loop": "with `tools:` it is `tool_agent`",
}
"""Keys of verl that `tools:` sets."""


def check(recipe: Recipe, found: Diagnostics) -> None:
    """Add what is wrong with a recipe's tools."""
    written = dict(_leaves(recipe.tree.get("verl"), ""))
    _format(written.get(f"{_MULTI}.format"), found)
    tools = recipe.tree.get("tools")
    if not isinstance(tools, Sequence) or not tools.items:
        return
    _names(tools, found)
    for key, why in _SET.items():
        if (entry := written.get(key)) is not None:
            said = _value(entry)
            if not (key.endswith("default_agent_loop") and said == "tool_agent") and said is not None:
                found.add(
                    "reserved-key", f"`{key.rsplit('.', 1)[1]}`: {why}", entry.key_span, hint="leave it out"
                )
    enabled = written.get(f"{_MULTI}.enable")
    if enabled is not None and _value(enabled) is False:
        found.add(
            "conflicting-keys",
            "`multi_turn.enable: false` forbids the turns in which `tools:` would be called",
            enabled.value,
            hint="leave it out, or leave `tools:` out",
        )


def _names(tools: Sequence, found: Diagnostics) -> None:
    """A model calls a tool by the last part of its path."""
    seen: dict[str, Scalar] = {}
    for item in tools.items:
        if not isinstance(item, Scalar) or not isinstance(item.value, str):
            continue  # said by the schema
        name = item.value.rsplit(".", 1)[-1]
        if name in seen:
            found.add(
                "bad-tool",
                f"two tools are named `{name}`, and a model calls them by name",
                item,
                hint="leave one out, or give its function another name",
                notes=[("the other", seen[name].span)],
            )
        else:
            seen[name] = item


def _format(entry: Entry | None, found: Diagnostics) -> None:
    """verl fails at the first rollout over a format that it does not know."""
    value = _value(entry)
    if entry is None or not isinstance(value, str) or value in FORMATS or "${" in value:
        return
    near = closest(value, FORMATS)
    hint = f"did you mean `{near[0]}`?" if near else "known: " + ", ".join(FORMATS)
    found.add("not-a-choice", f"verl reads no tool calls in the format `{value}`", entry.value, hint=hint)


def _leaves(node: Node | None, above: str) -> Iterator[tuple[str, Entry]]:
    """Every leaf of the block by its dotted name, however it is written."""
    if isinstance(node, Mapping):
        for key, entry in node.entries.items():
            name = above + key.lstrip("+")
            yield name, entry
            yield from _leaves(entry.value, f"{name}.")


def _value(entry: Entry | None) -> Any:
    return entry.value.value if entry is not None and isinstance(entry.value, Scalar) else None
