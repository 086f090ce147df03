"""Data: sources are fetched, go through processors, and become registered dataset files.

Leaves one JSONL file per dataset, or per part of a dataset that is split, with
`dataset_info.json`, which registers them for LLaMA-Factory, and `report.json`, which says how
many rows each processor read, kept and dropped, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.engines.processors import fields, registry
from residency.engines.processors.engine import ENGINE
from residency.engines.processors.spec import Dataset, as_list, dataset, datasets, in_order
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_probe import Answer
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Scalar, Sequence, Span, plain
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.rows import split
from residency.rows.formats import entry
from residency.sources import spec
from residency.stages._sources import check_source, local
from residency.stages.base import Inputs, Output, StageKind

RESERVED = {
    "dataset_info": Output("dataset_info.json", "file"),
    "report": Output("report.json", "file"),
}


class Data(StageKind):
    """`kind: data`."""

    name: ClassVar[str] = "data"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Sources that can be fetched, names that exist, splits that add up, outputs that differ."""
        sources = recipe.tree.get("sources")
        if isinstance(sources, Tree):
            for item in sources.entries.values():
                if isinstance(item.value, Tree):
                    check_source(item.value, recipe.folder, found)
        tree = recipe.tree.get("datasets")
        if isinstance(tree, Tree):
            names = set(sources.entries) if isinstance(sources, Tree) else set()
            _check_datasets(tree, names, recipe.folder, context.project, found)

    def check_functions(self, recipe: Recipe, answers: Mapping[str, Answer], found: Diagnostics) -> None:
        """Fields that the recipe names and no row can have."""
        fields.check(recipe, answers, found)

    def engine(self, config: Mapping[str, Any]) -> Engine:
        """Our own."""
        return ENGINE

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """One per dataset or part, and `dataset_info` and `report`."""
        made = {
            name: Output(f"{name}.jsonl", "dataset", entry(item.format))
            for item in datasets(config)
            for name in item.files.values()
        }
        return {**made, **RESERVED}

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """Local files, the files of registered datasets, the processors' code.

        What comes from the network is covered by its URL and sha256, which the recipe holds.
        """
        found = datasets(config)
        sources = config.get("sources") or {}
        files = []
        for value in sources.values():
            url = value.get("url") if isinstance(value, Mapping) else None
            if isinstance(url, str) and spec.scheme(url) == "file" and TOKEN_OPEN not in url:
                files.append(local(url, recipe_folder))
        own = {*sources, *(name for item in found for name in item.files.values())}
        entries = registry.entries(project)
        for name in (name for item in found for name in item.sources):
            if name in own or TOKEN_OPEN in name:
                continue
            path = registry.data_file(project, entries[name]) if name in entries else None
            if path is None and registry.is_path(name):
                path = recipe_folder / name
            if path is not None:
                files.append(path)
        functions = dict.fromkeys(step.function for item in found for step in item.steps)
        return Inputs(
            files=tuple(dict.fromkeys(p for p in files if p.exists())),
            functions=tuple(functions),
            ignore=("resources.cpus",),
        )


def _check_datasets(tree: Tree, sources: set[str], folder: Path, project: Path, found: Diagnostics) -> None:
    """What is wrong with the datasets, one by one and together."""
    made = [
        dataset(name, plain(item.value))
        for name, item in tree.entries.items()
        if isinstance(item.value, Tree)
    ]
    files = {file: item for item in made for file in item.files.values()}
    whole = {item.name: item for item in made}
    entries = registry.entries(project)
    _check_outputs(tree, made, sources, found)
    _, circle = in_order(made, sources)
    if circle:
        first = tree.entries[circle[0]].value
        assert isinstance(first, Tree)
        where = first.get("from") or first
        names = " → ".join(f"`{name}`" for name in [*circle, circle[0]])
        found.add("circular-datasets", f"these datasets are made from each other: {names}", where)
    for name, item in tree.entries.items():
        if not isinstance(item.value, Tree):
            continue
        for node in _texts(item.value.get("from")):
            wanted = str(node.value)
            if wanted in sources or wanted in files:
                continue
            if wanted in whole:
                parts = ", ".join(f"`{file}`" for file in whole[wanted].files.values())
                found.add(
                    "unknown-source", f"`{wanted}` is split: name one of its parts", node, hint=f"{parts}"
                )
            elif wanted in entries:
                _check_registered(wanted, entries[wanted], project, node, found)
            elif registry.is_path(wanted):
                if not (folder / wanted).exists():
                    hint = f"a relative path starts at {folder}"
                    found.add("missing-file", f"{wanted} is not there", node, hint=hint)
            else:
                _unknown(wanted, [*sorted(sources), *files, *entries], node, found)
        _check_split(item.value.get("split"), found)
        assert name in whole


def _check_registered(
    name: str, value: dict[str, Any], project: Path, node: Node, found: Diagnostics
) -> None:
    """A dataset of dataset_info.json must be a file that is there."""
    path = registry.data_file(project, value)
    if path is None:
        found.add(
            "unknown-source",
            f"`{name}` is registered as a dataset of a hub, which has no file here",
            node,
            hint="fetch it with a `data` recipe of its own: `sources:` with url and sha256",
        )
    elif not path.exists():
        found.add("missing-file", f"{path}, the file of `{name}`, is not there", node)


def _unknown(wanted: str, known: list[str], node: Node, found: Diagnostics) -> None:
    guess = closest(wanted, known)
    hint = f"did you mean `{guess[0]}`?" if guess else ""
    if not guess:
        shown = ", ".join(f"`{name}`" for name in known[:8]) + (", …" if len(known) > 8 else "")
        hint = f"there {'is' if len(known) == 1 else 'are'}: {shown}" if known else "add it under `sources:`"
    found.add(
        "unknown-source",
        f"`{wanted}` is no source of this recipe, no dataset of it, and not in dataset_info.json",
        node,
        hint=hint,
    )


def _check_outputs(tree: Tree, made: list[Dataset], sources: set[str], found: Diagnostics) -> None:
    """Each name once."""
    taken: dict[str, Span] = {}
    for item in made:
        where = tree.entries[item.name].key_span
        if item.name in sources:
            found.add(
                "duplicate-output",
                f"`{item.name}` is the name of a source and of a dataset",
                where,
                hint="`from:` could mean either; rename one",
            )
        for file in item.files.values():
            if file in RESERVED:
                found.add(
                    "duplicate-output",
                    f"`{file}` is the name of the stage's own {RESERVED[file].path}",
                    where,
                )
            elif file in taken:
                found.add(
                    "duplicate-output",
                    f"two datasets would be written to {file}.jsonl",
                    where,
                    hint="a part is named NAME_PART; rename the dataset or the part",
                    notes=(("the other", taken[file]),),
                )
            taken.setdefault(file, where)


def _check_split(node: Node | None, found: Diagnostics) -> None:
    """What the schema cannot say of a split."""
    if not isinstance(node, Tree) or not all(is_known(item.value) for item in node.entries.values()):
        return
    for key, text in split.problems(plain(node)):
        # A split without parts is refused by the schema.
        if key == "" and set(node.entries) - set(split.OPTIONS):
            found.add("bad-split", f"the split cannot be made: {text}", node)


def _texts(node: Node | None) -> list[Scalar]:
    """The known texts of a node that is a text or a list of them."""
    items = node.items if isinstance(node, Sequence) else as_list(node)
    return [n for n in items if isinstance(n, Scalar) and isinstance(n.value, str) and is_known(n)]


KIND = Data()
