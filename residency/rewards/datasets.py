"""Where the rows of an rlvr recipe lie: its `dataset:` and `eval_dataset:` as files with their entries."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.errors import Missing, RecipeInvalid
from residency.recipe.suggest import closest
from residency.rows.read import format_of

REGISTRY = "dataset_info.json"
_REMOTE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "cloud_file_name", "script_url")


@dataclass(frozen=True, slots=True)
class Source:
    """One dataset."""

    name: str
    """Its name in the registry; of a file, the file's name less its ending."""
    path: Path
    """Absolute; a file or a folder of files. It need not be there yet when a stage makes it."""
    entry: Mapping[str, Any] | None
    """Its entry of dataset_info.json; None for a file that is read as its columns tell."""


def names(value: object) -> list[str]:
    """The datasets under a key: `a`, `a, b` or [a, b]."""
    if value is None:
        return []
    items = value if isinstance(value, list | tuple) else str(value).split(",")
    return [str(item).strip() for item in items if str(item).strip()]


def find(
    config: Mapping[str, Any],
    key: str,
    recipe_folder: Path,
    project: Path,
    made: Mapping[str, Mapping[str, Any]],
) -> list[Source]:
    """The datasets that the recipe names.

    Args:
        config: The resolved recipe.
        key: `dataset` or `eval_dataset`.
        recipe_folder: Where relative paths start, before the project's folder.
        project: The folder of dataset_info.json.
        made: Absolute path of a file that an earlier stage leaves → its entry.

    Raises:
        RecipeInvalid: A name is neither in the registry nor a data file.
        Missing: The file is not there.
    """
    return [_find(name, recipe_folder, project, made) for name in names(config.get(key))]


def _find(name: str, recipe_folder: Path, project: Path, made: Mapping[str, Mapping[str, Any]]) -> Source:
    if name in made:
        return Source(Path(name).stem, Path(name), made[name])
    registry = _registry(project / REGISTRY)
    if name in registry:
        entry = registry[name]
        if "file_name" not in entry or any(place in entry for place in _REMOTE):
            raise RecipeInvalid(
                f"the dataset `{name}` lies on a hub",
                "fetch it with a `data` stage, and name that stage's output as the dataset",
            )
        return Source(name, _there(project / str(entry["file_name"]), name), entry)
    for folder in (recipe_folder, project):
        path = (folder / Path(name).expanduser()).absolute()
        if path.exists():
            return Source(path.stem, path, None)
    if "/" in name or format_of(Path(name)):
        raise Missing(
            f"the data file {name} is not there", f"a relative path starts at {recipe_folder} or {project}"
        )
    raise RecipeInvalid(f"the dataset `{name}` is not in {REGISTRY}", _near(name, list(registry)))


def _near(name: str, known: Sequence[str]) -> str:
    near = closest(name, known)
    return f"did you mean `{near[0]}`?" if near else f"add an entry to {REGISTRY}, or give a file's path"


def _there(path: Path, name: str) -> Path:
    if not path.exists():
        raise Missing(f"the data file {path} of `{name}` is not there", f"{REGISTRY} names it")
    return path.absolute()


def _registry(path: Path) -> dict[str, dict[str, Any]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise RecipeInvalid(f"{path} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise RecipeInvalid(f"{path} must be an object: {{name: entry}}")
    return {name: entry for name, entry in value.items() if isinstance(entry, dict)}
