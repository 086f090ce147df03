"""Trains a verifier for rewards.verifier: a two-class model on (response, reference, label) rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.transformers.engine import resolve
from residency.engines.transformers.verifier import rows
from residency.engines.transformers.verifier.engine import ENGINE
from residency.errors import ResidencyError
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Node, Scalar, Sequence, at, key_span
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.rewards import datasets
from residency.stages._rows import first_of_each, located
from residency.stages.base import Inputs, Output, Rows, StageKind
from residency.verifier import text

NO_EFFECT = (
    "disable_tqdm",
    "logging_steps",
    "logging_strategy",
    "logging_first_step",
    "log_level",
    "report_to",
    "run_name",
    "project",
    "save_total_limit",
    "dataloader_num_workers",
    "dataloader_pin_memory",
)
"""Training arguments that do not change the weights."""
READS_AS = (
    "residency.verifier.text.fill",
    "residency.verifier.classifier.encode",
    "residency.engines.transformers.verifier.train.train",
)
"""Code that the result depends on beside the recipe."""


class Verifier(StageKind):
    """`kind: verifier`."""

    name: ClassVar[str] = "verifier"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """A model that is there, rows with the columns, a template with its places, one GPU at most."""
        _check_model(recipe, context, found)
        for key in ("dataset", "eval_dataset"):
            for node in _items(recipe.tree.get(key)):
                _check_dataset(recipe, node, context, found)
        _check_template(recipe, found)
        gpus = at(recipe.tree, ("resources", "gpus"))
        if isinstance(gpus, Scalar) and isinstance(gpus.value, int) and gpus.value > 1:
            found.add(
                "out-of-range",
                f"a verifier is trained on one GPU, and {gpus.value} are asked for",
                gpus,
                hint="set `gpus: 1`",
            )
        if recipe.tree.get("eval_dataset") is not None and recipe.tree.get("holdout") is not None:
            found.add(
                "unused-key",
                "`holdout` has no effect beside `eval_dataset`",
                key_span(recipe.tree, ("holdout",)) or recipe.tree,
                severity="warning",
            )

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """transformers' Trainer."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`model`: the verifier; `predictions`: the held-out rows with their probabilities."""
        return {"model": Output("model", "model"), "predictions": Output("predictions.jsonl", "file")}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The model and the data files on this disk, and the code that sets the text."""
        files: list[Path] = []
        given = str(config.get("model") or "")
        if given and not _is_token(given):
            path = Path(resolve(given, recipe_folder, project))
            files += [path.absolute()] if path.exists() else []
        for name in (name for key in ("dataset", "eval_dataset") for name in datasets.names(config.get(key))):
            try:
                known = {} if _is_token(name) else {"dataset": name}
                files += rows.locate(known, "dataset", recipe_folder, project, {})
            except ResidencyError:
                continue  # said by the check
        return Inputs(
            files=tuple(dict.fromkeys(files)),
            functions=READS_AS,
            ignore=("resources.cpus", *(f"training.{key}" for key in NO_EFFECT)),
        )

    def rows(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Rows:
        """What the verifier is trained on."""
        return located(datasets.names(config.get("dataset")), recipe_folder, project)


def _check_model(recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    node = recipe.tree.get("model")
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not is_known(node):
        return
    path = Path(resolve(node.value, recipe.folder, context.project))
    if path.is_dir() and not (path / "config.json").is_file():
        hint = None
        if (path / "adapter_config.json").is_file():
            hint = "it is an adapter: merge it into its base with `kind: export`"
        found.add("model-missing", f"{node.value} holds no config.json, so it is no model", node, hint=hint)
    elif not path.exists() and node.value.startswith(("/", "./", "../", "~")):
        found.add("model-missing", f"the model {node.value} is not there", node)


def _check_dataset(recipe: Recipe, node: Node, context: CheckContext, found: Diagnostics) -> None:
    def locate(name: str) -> Path:
        return rows.locate({"dataset": name}, "dataset", recipe.folder, context.project, {})[0]

    columns = _columns(recipe.config)
    for name, first in first_of_each(node, locate, found):
        for role, column in columns.items():
            if column not in first.columns:
                near = closest(column, first.columns)
                hint = f"did you mean `{near[0]}`? " if near else ""
                found.add(
                    "column-missing",
                    f"`{name}` has no column `{column}` for the {role}",
                    at(recipe.tree, ("columns", role)) or node,
                    hint=f"{hint}it has {', '.join(first.columns[:12])}",
                )
                continue
            if role == "label":
                _check_labels(name, column, first.rows, node, found)


def _check_labels(
    name: str, column: str, first: list[dict[str, Any]], node: Node, found: Diagnostics
) -> None:
    for number, row in enumerate(first, 1):
        try:
            rows.label(row.get(column), column)
        except ValueError as error:
            found.add("bad-data", f"`{name}`, row {number}: {error}", node)
            return


def _check_template(recipe: Recipe, found: Diagnostics) -> None:
    node = recipe.tree.get("template")
    if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node):
        try:
            text.check_template(node.value)
        except ValueError as error:
            found.add("wrong-form", str(error), node)


def _columns(config: Mapping[str, Any]) -> dict[str, str]:
    given = config.get("columns")
    given = given if isinstance(given, Mapping) else {}
    return {role: str(given.get(role) or role) for role in rows.COLUMNS}


def _items(node: Node | None) -> list[Node]:
    return list(node.items) if isinstance(node, Sequence) else [node] if node is not None else []


def _is_token(value: str) -> bool:
    return TOKEN_OPEN in value or "${" in value


KIND = Verifier()
