"""Files beside recipes that a user may take for one: said to be what they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, Scalar, Span

OF_A_TASK = frozenset(
    {
        *("doc_to_text", "doc_to_target", "doc_to_choice", "process_results", "metric_list"),
        *("dataset_path", "dataset_kwargs", "custom_dataset"),
    }
)
"""Keys of an lm-eval task; with one of NAMES, one of them tells."""

NAMES = frozenset({"task", "include", "group", "tag", "output_type"})


class Other(NamedTuple):
    """What a file is."""

    message: str
    hint: str


def look(path: Path, file: str, tree: Mapping, shared_profiles: Path) -> Other | None:
    """What a document without `kind:` is, when it is no recipe; None when it may be meant as one.

    Args:
        path: The file.
        file: The file as the user named it.
        tree: Its document.
        shared_profiles: The folder of profiles shared by all recipes.
    """
    keys = set(tree.entries)
    if "kind" in keys:
        return None
    if OF_A_TASK & keys and NAMES & keys:
        name = _text(tree, "task") or path.stem
        return Other(
            f"`{file}` is a task of lm-evaluation-harness, not a recipe",
            f"name it in a recipe: `kind: evaluate` with `tasks: [{name}]`; it is checked with that",
        )
    if os.path.realpath(path.parent) == os.path.realpath(shared_profiles):
        return Other(
            f"`{file}` is a profile, not a recipe",
            f"choose it for a recipe: python launch.py check RECIPE --profile {path.stem}",
        )
    if os.path.realpath(path.parent) == os.path.realpath(shared_profiles.parent / "prompts"):
        return Other(
            f"`{file}` is a prompt style, not a recipe",
            f"name it in a recipe: `kind: evaluate` with `prompt: {path.stem}`; it is checked with that",
        )
    if "zero_optimization" in keys:
        return Other(
            f"`{file}` is a DeepSpeed configuration, not a recipe",
            "name it in a recipe: `llamafactory: {deepspeed: FILE}`; it is checked with that",
        )
    values = [entry.value for entry in tree.entries.values()]
    sources = ("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name")
    if values and all(isinstance(v, Mapping) and set(sources) & set(v.entries) for v in values):
        return Other(
            f"`{file}` is a registry of datasets, not a recipe",
            "its entries are checked with every recipe that names one of them under `dataset:`",
        )
    if path.name == "recipe.lock.yaml":
        return Other(
            f"`{file}` is the record of a run, not a recipe",
            f"python launch.py show {path.parent.name} shows the run, and its recipe",
        )
    return None


def report(other: Other, file: str, found: Diagnostics) -> Diagnostics:
    """The one thing to say of such a file, in place of all that is wrong with it as a recipe."""
    said = Diagnostics(sources=found.sources)
    said.add("not-a-recipe", other.message, Span(file, 1, 1, 1, 1), hint=other.hint)
    return said


def _text(tree: Mapping, key: str) -> str | None:
    node = tree.get(key)
    return node.value if isinstance(node, Scalar) and isinstance(node.value, str) else None
