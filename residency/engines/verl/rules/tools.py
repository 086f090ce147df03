"""Rules of `tools:`: names that a model can tell apart, and calls in a format that verl can read.

That each path leads to a function that a model can be told of, `residency.recipe.dotted` checks;
what verl's own keys say beside them, `rules_launcher`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from residency.engines.verl.rules.view import ROLLOUT, View, texts
from residency.engines.verl.tools import FORMATS
from residency.recipe.nodes import Mapping, Node
from residency.recipe.suggest import closest

SEARCH, SEARCH_URL = "residency.retrieval.tool.search", "RESIDENCY_SEARCH_URL"


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


def search_address(view: View) -> None:
    """The search tool finds its server in the environment."""
    for path, node in texts(view.recipe.tree.get("tools")):
        if path != SEARCH:
            continue
        given = view.recipe.tree.get("env")
        if SEARCH_URL in os.environ or (isinstance(given, Mapping) and SEARCH_URL in given.entries):
            continue
        view.error(
            "missing-key",
            f"the tool search has no server to ask: `{SEARCH_URL}` is not set",
            node,
            f'env: {{{SEARCH_URL}: "${{services.retriever.url}}"}}, with the server under `services:`',
        )


RULES: tuple[Callable[[View], None], ...] = (names, call_format, loop, search_address)
