"""Rules of `tools:`: names that a model can tell apart, and calls in a format that verl can read.

That each path leads to a function that a model can be told of, `residency.recipe.dotted` checks;
what verl's own keys say beside them, `rules_launcher`.
"""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl.rules.view import ROLLOUT, View, texts
from residency.engines.verl.tools import FORMATS
from residency.recipe.nodes import Node
from residency.recipe.suggest import closest


def names(view: View) -> None:
    """A model calls a tool by the last part of its path."""
    seen: dict[str, Node] = {}
    for path, node in texts(view.recipe.tree.get("tools")):
        name = path.rsplit(".", 1)[-1]
        if name in seen:
            view.found.add(
                "bad-tool",
                f"two tools are named `{name}`, and a model calls them by name",
                node,
                hint="leave one out, or give its function another name",
                notes=[("the other", seen[name].span)],
            )
        seen.setdefault(name, node)


def call_format(view: View) -> None:
    """verl fails at the first rollout over a format that it does not know."""
    key = f"{ROLLOUT}.multi_turn.format"
    value = view.text(key)
    if key not in view or value is None or value in FORMATS:
        return
    near = closest(value, FORMATS)
    hint = f"did you mean `{near[0]}`?" if near else "known: " + ", ".join(FORMATS)
    view.error("not-a-choice", f"verl reads no tool calls in the format `{value}`", view.place(key), hint)


def loop(view: View) -> None:
    """The loop of turns is the launcher's own, which keeps answers apart from what tools say."""
    key = f"{ROLLOUT}.agent.agent_loop_config_path"
    if key in view and view.own("tools"):
        message = "`agent_loop_config_path` is set by the launcher where there are `tools:`"
        view.error("reserved-key", message, view.key(key), "leave it out")


RULES: tuple[Callable[[View], None], ...] = (names, call_format, loop)
