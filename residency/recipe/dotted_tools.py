"""Checks a function that a model may call: its signature and docstring are what the model is told."""

from __future__ import annotations

from typing import Any

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Scalar

EXAMPLE = "`def search(query: str, k: int = 3) -> str:` with a docstring whose `Args:` says what each is"


def check_tool(path: str, node: Scalar, answer: dict[str, Any], found: Diagnostics) -> None:
    """Say all that keeps a function from being a tool, code `bad-tool`.

    Args:
        path: Its dotted path.
        node: Where the recipe names it.
        answer: `parameters` and `tool` of `residency.recipe.dotted_probe.probe`.
        found: Takes the diagnostics.
    """
    told, parameters = answer.get("tool"), answer.get("parameters")
    if told is None or parameters is None:
        found.add("bad-tool", f"`{path}` is not a plain function", node, hint=f"a tool is one: {EXAMPLE}")
        return
    missing: list[str] = []
    if not told["summary"]:
        missing.append("a docstring that says what it does")
    names = [name for name, kind, _ in parameters if kind in ("POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY")]
    for name in names:
        if name not in told["typed"]:
            missing.append(f"a type for `{name}` that JSON has (str, int, float, bool, list, dict, Literal)")
        if name not in told["described"]:
            missing.append(f"a line `{name}: …` under `Args:` of the docstring")
    if missing:
        found.add("bad-tool", f"`{path}` lacks {'; '.join(missing)}", node, hint=f"a tool is {EXAMPLE}")
    unnamed = [name for name, kind, _ in parameters if name not in names]
    if unnamed:
        what = ", ".join(f"`{name}`" for name in unnamed)
        found.add(
            "bad-tool",
            f"a model cannot give {what} of `{path}`",
            node,
            hint="a model gives arguments by name: no `*args`, no `**kwargs`, no parameters before `/`",
        )
