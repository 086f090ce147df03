"""Servers: processes that run as long as they are needed, by hand or as services of other recipes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines import serving
from residency.engines.base import CheckContext, Engine
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Scalar, key_span
from residency.recipe.tokens import is_known
from residency.serving import is_loopback
from residency.stages.base import Inputs, Output, StageKind

HOW_IT_RUNS = (
    "host",
    "port",
    "token_env",
    "health_seconds",
    "health_every",
    "hung_seconds",
    "restarts",
    "resources",
    "env",
)
"""Keys that say where and how a server runs, not what it answers."""

OF_A_MODEL = ("model", "adapter", "served_model_name")
"""Keys of the engines that serve a model."""


class Serve(StageKind):
    """`kind: serve`."""

    name: ClassVar[str] = "serve"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """A block for another engine has no effect; a server that others reach wants a token."""
        engine = recipe.config.get("engine")
        for name in serving.names():
            if name in recipe.tree.entries and engine in serving.names() and name != engine:
                found.add(
                    "unused-key",
                    f"`{name}` has no effect: the engine is `{engine}`",
                    key_span(recipe.tree, (name,)) or recipe.tree,
                )
        if engine in serving.names():
            _check_engine(recipe, serving.get(str(engine)), found)
        _check_patience(recipe, found)
        host = recipe.tree.get("host")
        if not isinstance(host, Scalar) or not isinstance(host.value, str) or not is_known(host):
            return
        if host.value and not is_loopback(host.value) and recipe.tree.get("token_env") is None:
            found.add(
                "open-server",
                f"the server would listen at {host.value}, where other machines reach it, without a token",
                host,
                hint="name the variable that holds one: `token_env: SERVER_TOKEN`, or listen at 127.0.0.1",
            )

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """What the recipe names."""
        named = str(config.get("engine") or "")
        known = serving.names()
        return serving.get(named if named in known else known[0])

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """Nothing."""
        return {}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """What the engine says, and its code."""
        engine = self.engine(config)
        assert isinstance(engine, serving.Server)
        ignore = tuple(f"{engine.name}.{key}" for key in engine.ignored())
        return Inputs(
            files=engine.inputs(dict(config), recipe_folder, project),
            functions=engine.sources,
            ignore=(*HOW_IT_RUNS, *ignore),
        )


def _check_patience(recipe: Recipe, found: Diagnostics) -> None:
    """A server is to be asked more than once before it counts as hung."""
    config = recipe.config
    every = config.get("health_every", serving.HEALTH_EVERY)
    hung = config.get("hung_seconds", serving.HUNG_SECONDS)
    if not all(isinstance(one, int | float) for one in (every, hung)):
        return  # the schema says what they must be, or it is known later
    if 0 < hung < 2 * every:
        node = recipe.tree.get("hung_seconds") or recipe.tree.get("health_every") or recipe.tree
        found.add(
            "conflicting-keys",
            f"after {hung:g} s of silence the server counts as hung, and it is asked every {every:g} s",
            node,
            hint="let `hung_seconds` be at least twice `health_every`; 0 turns the watch off",
        )


def _check_engine(recipe: Recipe, engine: serving.Server, found: Diagnostics) -> None:
    """What an engine must be told, and what has no effect on it."""
    where = key_span(recipe.tree, ("engine",)) or recipe.tree
    entries = recipe.tree.entries
    if engine.needs_block and engine.name not in entries:
        found.add("missing-key", f"the engine `{engine.name}` needs its block `{engine.name}:`", where)
    if engine.takes_model and "model" not in entries:
        found.add("missing-key", f"the engine `{engine.name}` needs a `model`", where)
    if not engine.takes_model:
        for key in OF_A_MODEL:
            node = recipe.tree.get(key)
            if node is not None and getattr(node, "value", None) is not None:
                found.add(
                    "unused-key",
                    f"`{key}` has no effect: the engine `{engine.name}` serves no model",
                    key_span(recipe.tree, (key,)) or node,
                )


KIND = Serve()
