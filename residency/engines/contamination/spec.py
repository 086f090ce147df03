"""What a recipe of `kind: contamination` says, and which of the leaks it allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import Missing, RecipeInvalid
from residency.rewards.datasets import find, names

if TYPE_CHECKING:
    from residency.contamination.find import Leak

SETS = ("training", "evaluation")
NGRAM = 13


def files(
    config: Mapping[str, Any],
    key: str,
    recipe_folder: Path,
    project: Path,
    made: Mapping[str, Mapping[str, Any]],
) -> dict[str, list[str]]:
    """The files of each set under `training` or `evaluation`, as absolute paths.

    Args:
        config: The resolved recipe.
        key: `training` or `evaluation`.
        recipe_folder: Where relative paths start, before the project's folder.
        project: The folder of dataset_info.json.
        made: Absolute path of a file that an earlier stage leaves → its entry.

    Raises:
        Missing: A file is not there, and no stage makes it.
        RecipeInvalid: A name stands in no registry.
    """
    found = {}
    for name, value in (config.get(key) or {}).items():
        paths = []
        for item in names(value):
            if item in made or Path(item).is_absolute():
                paths.append(item)
            else:
                paths += [str(s.path) for s in find({key: item}, key, recipe_folder, project, made)]
        found[str(name)] = paths
    return found


def known_files(config: Mapping[str, Any], recipe_folder: Path, project: Path) -> list[Path]:
    """The files of all sets that lie on this disk now, for the fingerprint."""
    found: list[Path] = []
    for key in SETS:
        for name, value in (config.get(key) or {}).items():
            for item in names(value):
                try:
                    found += map(Path, files({key: {name: item}}, key, recipe_folder, project, {})[str(name)])
                except (Missing, RecipeInvalid):
                    continue  # a stage makes it, or the check has said so
    return [path for path in dict.fromkeys(found) if path.exists()]


def allow(leaks: Iterable[Leak], allowed: Mapping[str, Any] | None) -> list[str]:
    """Mark the leaks that `allow_leak` lets pass: all, or those of its `ids`.

    Returns:
        Ids of `allow_leak` that no leak bears.
    """
    if not allowed:
        return []
    wanted = [str(item).strip() for item in allowed.get("ids") or []]
    met: set[str] = set()
    for leak in leaks:
        bears = {leak.evaluation.id, leak.training.id, *leak.ids, *(i.partition(":")[2] for i in leak.ids)}
        found = bears.intersection(wanted)
        met |= found
        leak.allowed = bool(found) or not wanted
    return [item for item in wanted if item not in met]


def counted(leaks: Sequence[Leak]) -> dict[tuple[str, str], tuple[int, int]]:
    """(Evaluation set, training set) → the evaluation rows and the training rows that leak."""
    found: dict[tuple[str, str], tuple[set[Any], set[Any]]] = {}
    for leak in leaks:
        asked, learnt = found.setdefault((leak.evaluation.set, leak.training.set), (set(), set()))
        asked.add((leak.evaluation.file, leak.evaluation.row))
        learnt.add((leak.training.file, leak.training.row))
    return {key: (len(asked), len(learnt)) for key, (asked, learnt) in found.items()}


def sentence(leaks: Sequence[Leak]) -> str:
    """The leaks of all pairs of sets in a sentence."""
    said = [
        f"{asked:,} question{'s' * (asked != 1)} of {evaluation} stand{'s' * (asked == 1)} in "
        f"{learnt:,} row{'s' * (learnt != 1)} of the training set of {training}"
        for (evaluation, training), (asked, learnt) in counted(leaks).items()
    ]
    return "; ".join(said)


def line(leak: Leak) -> str:
    """One leak on one line: both places, and what is shared."""
    asked, learnt = (
        f"{Path(place.file).name} row {place.row}" + (f" ({place.id})" if place.id else "")
        for place in (leak.evaluation, leak.training)
    )
    why = list(leak.ids)
    if leak.words:
        shown = " ".join(leak.shared.split())
        why.append(f"{leak.words} of {leak.of} words of `{leak.field}`: {_short(shown)}")
    return f"{asked} is in {learnt}: {', '.join(why)}"


def _short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
