"""Where the rows lie that a recipe names under `dataset:`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from residency.errors import Missing, RecipeInvalid
from residency.recipe.data_rows import BadRow, first_rows
from residency.recipe.data_rows import Rows as FirstRows
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN
from residency.recipe.nodes import Node, Scalar
from residency.recipe.tokens import is_known
from residency.rewards.datasets import find, names
from residency.stages.base import Rows


def located(named: Sequence[str], recipe_folder: Path, project: Path) -> Rows:
    """The files of training data: names in dataset_info.json, paths, or other stages' outputs."""
    training, elsewhere = [], []
    for name in named:
        if TOKEN_OPEN in name:
            training.append(name)
            continue
        try:
            training += [str(s.path) for s in find({"dataset": name}, "dataset", recipe_folder, project, {})]
        except (Missing, RecipeInvalid):
            elsewhere.append(f"the dataset {name}, which is not on this disk")
    return Rows(training=tuple(dict.fromkeys(training)), elsewhere=tuple(elsewhere))


def first_of_each(
    node: Node, locate: Callable[[str], Path], found: Diagnostics
) -> Iterator[tuple[str, FirstRows]]:
    """Each dataset under `dataset:` whose first rows can be looked at; what is wrong with others is added.

    Args:
        node: The value of `dataset`.
        locate: A dataset's name → its file; raises RecipeInvalid or Missing.
        found: Where mistakes go.
    """
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not is_known(node):
        return
    for name in names(node.value):
        try:
            first = first_rows(locate(name))
        except RecipeInvalid as error:
            found.add("unknown-dataset", error.message, node, hint=error.hint)
            continue
        except Missing as error:
            found.add("missing-file", error.message, node, hint=error.hint)
            continue
        except (BadRow, OSError) as error:
            found.add("bad-data", f"`{name}` cannot be read: {error}", node)
            continue
        if first is None:
            continue
        if not first.columns:
            found.add("bad-data", f"`{name}` holds no rows", node)
            continue
        yield name, first
