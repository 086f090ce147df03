"""A plain LLaMA-Factory YAML, taken as it is: `kind: sft` with everything under `llamafactory:`."""

from __future__ import annotations

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Entry, Mapping, Scalar, Span, walk
from residency.recipe.tokens import Unresolved
from residency.recipe.yaml_scalars import resolve_as_llamafactory

KIND = "sft"
BLOCK = "llamafactory"
TELLING = frozenset(
    {
        "model_name_or_path",
        "stage",
        "do_train",
        "finetuning_type",
        "dataset_dir",
        "template",
        "cutoff_len",
        "per_device_train_batch_size",
        "num_train_epochs",
        "adapter_name_or_path",
    }
)
"""Keys by which a LLaMA-Factory YAML is known."""
OF_A_RECIPE = frozenset(
    {
        "kind",
        "extends",
        "params",
        "profiles",
        "stages",
        "sources",
        "datasets",
        "tasks",
        "lm_eval",
        "verl",
        BLOCK,
    }
)
"""Keys that no LLaMA-Factory YAML has."""
OUTSIDE = frozenset({"kind", "name", "description", "params", "resources", "env", BLOCK})
"""Where `--set KEY=…` on such a file means the recipe around the block, not the block."""

OF_THE_LAUNCHER = {"resources": "--set resources.gpus=…", "env": "--set env.NAME=…"}
"""Keys of a recipe that a user may try to write into a LLaMA-Factory YAML."""


def looks_plain(tree: Mapping) -> bool:
    """True when a document without `kind:` has the keys of a LLaMA-Factory YAML."""
    return not OF_A_RECIPE.intersection(tree.entries) and bool(TELLING.intersection(tree.entries))


def wrap(tree: Mapping, found: Diagnostics) -> Mapping:
    """The document as a recipe; each value is what LLaMA-Factory would read.

    LLaMA-Factory leaves `${…}` as text, so it stays text here, with a warning.
    """
    for _, node in walk(tree):
        if not isinstance(node, Scalar) or isinstance(node.value, Unresolved):
            continue
        if not node.quoted:
            node.value = resolve_as_llamafactory(node.text)
        if isinstance(node.value, str) and "${" in node.value:
            found.add(
                "literal-interpolation",
                "LLaMA-Factory leaves `${…}` as it is in a file without `kind:`",
                node,
                severity="warning",
                hint="to have it resolved, write `kind: sft` and put these keys under `llamafactory:`",
            )
        node.literal = True
    for key in OF_THE_LAUNCHER.keys() & tree.entries.keys():
        entry = tree.entries.pop(key)
        found.add(
            "unknown-key",
            f"`{key}` is no key of LLaMA-Factory",
            entry.key_span,
            hint=f"give it on the command line, {OF_THE_LAUNCHER[key]}, "
            "or make the file a recipe: python launch.py import llamafactory FILE -o RECIPE",
        )
    top = Span(tree.span.file, 1, 1, 1, 1)
    return Mapping(
        tree.span,
        {
            "kind": Entry("kind", top, Scalar(KIND, top, KIND, literal=True)),
            BLOCK: Entry(BLOCK, top, tree),
        },
    )
