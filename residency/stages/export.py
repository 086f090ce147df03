"""Writes a model as an ordinary Hugging Face checkpoint with a model card.

A copy of a model, one with an adapter merged into it, or a GGUF file converted (`source:`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.transformers.engine import ENGINE, resolve
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Scalar
from residency.stages.base import Inputs, Output, StageKind


class Export(StageKind):
    """`kind: export`."""

    name: ClassVar[str] = "export"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """One of `model` and `source`; local folders are there and hold what they should."""
        tree = recipe.tree
        model, source = tree.entries.get("model"), tree.entries.get("source")
        if model is not None and source is not None:
            found.add(
                "conflicting-keys",
                "`model` and `source` are given, and an export starts from one of them",
                source.key_span,
                hint="`model` is a checkpoint; `source` is a file to be converted",
                notes=(("also given here", model.key_span),),
            )
        for key, wanted in (("model", "config.json"), ("adapter", "adapter_config.json")):
            node = tree.get(key)
            if not isinstance(node, Scalar) or not isinstance(node.value, str) or TOKEN_OPEN in node.value:
                continue
            path = Path(resolve(node.value, recipe.folder, context.project))
            if path.is_dir():
                if not (path / wanted).is_file():
                    hint = "it is an adapter: give it as `adapter`, and its base as `model`"
                    is_adapter = key == "model" and (path / "adapter_config.json").is_file()
                    found.add(
                        "model-missing",
                        f"{node.value} holds no {wanted}, so it is no {key}",
                        node,
                        hint=hint if is_adapter else None,
                    )
            elif node.value.startswith(("/", "./", "../", "~")):
                found.add("model-missing", f"the {key} {node.value} is not there", node)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """transformers."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`model`: the checkpoint."""
        return {"model": Output("model", "model")}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The folders and the source file that lie on this disk."""
        files = []
        given = [config.get("model"), config.get("adapter"), (config.get("source") or {}).get("url")]
        for value in given:
            if isinstance(value, str) and TOKEN_OPEN not in value and "://" not in value:
                path = Path(resolve(value, recipe_folder, project))
                files += [path.absolute()] if path.exists() else []
        return Inputs(files=tuple(files), ignore=("resources",))


KIND = Export()
