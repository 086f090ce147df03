"""`kind: generate`: answers of a model to the rows of a dataset, read, filtered, and fit to train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.endpoint import check as endpoint_check
from residency.endpoint.settings import HOW_FAST
from residency.engines.base import CheckContext, Engine
from residency.engines.generate import parse, template
from residency.engines.generate.engine import ENGINE
from residency.engines.lm_eval import places
from residency.errors import ResidencyError
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Scalar, Sequence, at, key_span, plain
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.rewards import datasets
from residency.rows.formats import entry
from residency.stages._rows import first_of_each
from residency.stages.base import Inputs, Output, StageKind

READS_AS = (
    "residency.engines.generate.prompt.messages",
    "residency.engines.generate.parse.parse",
    "residency.engines.generate.finish.Finisher",
)
"""Code that the result depends on beside the recipe."""


class Generate(StageKind):
    """Rows in, answers out."""

    name: ClassVar[str] = "generate"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Something that answers, rows with the columns that are used, templates and a schema that can be."""
        endpoint_check.check(recipe, found)
        _check_model(recipe, context, found)
        _check_templates(recipe, found)
        _check_filters(recipe, found)
        _check_json(recipe, found)
        for node in _items(recipe.tree.get("dataset")):
            _check_dataset(recipe, node, context, found)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """Our own."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """`dataset`, `samples` (every answer), `rejected` (what was left out, and why), `report`."""
        format = str(config.get("format") or "alpaca")
        return {
            "dataset": Output("dataset.jsonl", "dataset", entry(format)),
            "samples": Output("samples.jsonl", "file"),
            "rejected": Output("rejected.jsonl", "file"),
            "report": Output("report.json", "file"),
        }

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """The model and the data files on this disk, the source of the filters."""
        starts = places.roots(recipe_folder, project)
        named = [str(config[k]) for k in ("model", "adapter") if config.get(k)]
        files = [p for v in named if not places.is_token(v) and (p := places.find(v, starts))]
        for name in datasets.names(config.get("dataset")):
            try:
                known = {} if places.is_token(name) else {"dataset": name}
                files += [s.path for s in datasets.find(known, "dataset", recipe_folder, project, {})]
            except ResidencyError:
                continue  # said by the check
        filters = config.get("filters") or ()
        functions = [str(f.get("fn") or f.get("reward")) for f in filters if isinstance(f, Mapping)]
        return Inputs(
            files=tuple(dict.fromkeys(files)),
            functions=(*READS_AS, *functions),
            ignore=("resources.cpus", *(f"endpoint.{key}" for key in HOW_FAST)),
        )


def _check_model(recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    node = recipe.tree.get("model")
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not is_known(node):
        return
    starts = places.roots(recipe.folder, context.project)
    path = places.find(node.value, starts)
    if path is None and places.is_path(node.value):
        found.add("model-missing", f"there is no folder {places.place(node.value, starts)}", node)
    elif path is not None and not (path / "config.json").is_file():
        found.add("model-missing", f"{path} holds no config.json", node)


def _check_templates(recipe: Recipe, found: Diagnostics) -> None:
    """`prompt` says one thing; braces that close."""
    tree = recipe.tree
    user, own = at(tree, ("prompt", "user")), at(tree, ("prompt", "messages"))
    if user is not None and own is not None:
        found.add(
            "conflicting-keys",
            "`user` makes the prompt, and `messages` takes one that is there",
            key_span(tree, ("prompt", "messages")) or own,
            hint="keep one of the two",
        )
    nodes = [user, at(tree, ("prompt", "system"))]
    output = tree.get("output")
    if isinstance(output, Tree):
        nodes += [item.value for item in output.entries.values()]
    for node in nodes:
        if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node):
            try:
                template.check(node.value)
            except ValueError as error:
                found.add("wrong-form", str(error), node, hint="a column is written {question}")
    if recipe.config.get("json") in (None, False) and isinstance(output, Tree):
        for item in output.entries.values():
            if isinstance(item.value, Scalar) and "{json" in str(item.value.value):
                found.add(
                    "conflicting-keys",
                    "`output` uses the answer's JSON, and answers are not read as JSON",
                    item.value,
                    hint="add `json: true`, or a schema",
                )
                return


def _check_filters(recipe: Recipe, found: Diagnostics) -> None:
    node = recipe.tree.get("filters")
    for item in node.items if isinstance(node, Sequence) else ():
        if not isinstance(item, Tree):
            continue
        both = [key for key in ("fn", "reward") if key in item.entries]
        if len(both) != 1:
            found.add(
                "conflicting-keys" if both else "missing-key",
                "a filter has either `fn`, a function of row and sample, or `reward`, a reward function",
                item,
            )
        if "ground_truth" in item.entries and both == ["fn"]:
            found.add(
                "unused-key",
                "`ground_truth` names the right answer for a `reward`; a function has the whole row",
                item.entries["ground_truth"].key_span,
                severity="warning",
            )
    if recipe.config.get("take") == "best" and not recipe.config.get("filters"):
        found.add(
            "missing-key",
            "`take: best` needs filters that give scores",
            recipe.tree.get("take") or recipe.tree,
        )
    if int(_number(recipe.config, "n") or 1) > 1 and not _number(recipe.config, "temperature"):
        found.add(
            "conflicting-keys",
            "several answers without a temperature would all be the same",
            at(recipe.tree, ("sampling", "n")) or recipe.tree,
            hint="add `temperature: 0.8`",
        )


def _number(config: Mapping[str, Any], key: str) -> float | None:
    sampling = config.get("sampling")
    value = sampling.get(key) if isinstance(sampling, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _check_json(recipe: Recipe, found: Diagnostics) -> None:
    node = recipe.tree.get("json")
    if isinstance(node, Tree) and (problem := parse.check_schema(plain(node))):
        found.add("wrong-form", f"it is no JSON Schema: {problem}", node)


def _check_dataset(recipe: Recipe, node: Node, context: CheckContext, found: Diagnostics) -> None:
    """The dataset is there, and has the columns that the recipe uses."""

    def locate(name: str) -> Path:
        return datasets.find({"dataset": name}, "dataset", recipe.folder, context.project, {})[0].path

    for name, first in first_of_each(node, locate, found):
        for column, where in _columns(recipe):
            if column.partition(".")[0] not in first.columns and column not in first.columns:
                near = closest(column, first.columns)
                hint = f"did you mean `{near[0]}`? " if near else ""
                found.add(
                    "column-missing",
                    f"`{name}` has no column `{column}`",
                    where,
                    hint=f"{hint}it has {', '.join(first.columns[:12])}",
                )


def _columns(recipe: Recipe) -> list[tuple[str, Node]]:
    """The columns of the dataset that the recipe uses, each with its place."""
    tree = recipe.tree
    found: list[tuple[str, Node]] = []
    texts = [at(tree, ("prompt", "user")), at(tree, ("prompt", "system"))]
    output = tree.get("output")
    own = {"text", "json"}
    if isinstance(output, Tree):
        texts += [item.value for item in output.entries.values()]
    for node in texts:
        if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node):
            for name in template.columns(node.value):
                if node in texts[:2] or name.partition(".")[0] not in own:
                    found.append((name, node))
    for node in (at(tree, ("prompt", "messages")), *_items(tree.get("keep"))):
        if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node):
            found.append((node.value, node))
    filters = tree.get("filters")
    for item in filters.items if isinstance(filters, Sequence) else ():
        truth = item.get("ground_truth") if isinstance(item, Tree) else None
        if isinstance(truth, Scalar) and isinstance(truth.value, str) and is_known(truth):
            found.append((truth.value, truth))
    return found


def _items(node: Node | None) -> list[Node]:
    return list(node.items) if isinstance(node, Sequence) else [node] if node is not None else []


KIND = Generate()
