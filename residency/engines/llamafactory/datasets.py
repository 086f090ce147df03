"""The datasets of a stage: exactly those it uses, with absolute paths."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.engines.llamafactory.places import block, find, is_plain, names, roots
from residency.errors import RecipeInvalid

REGISTRY = "dataset_info.json"
REMOTE = ("hf_hub_url", "ms_hub_url", "om_hub_url", "cloud_file_name")


@dataclass(slots=True)
class Selected:
    """What a stage trains and evaluates on."""

    train: list[str] = field(default_factory=list)
    eval: list[str] = field(default_factory=list)
    info: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The dataset_info.json of the stage."""
    files: list[Path] = field(default_factory=list)
    """The data files, for the fingerprint. They need not exist yet when a stage makes them."""
    media: Path | None = None
    """Where the images, videos and audios that the rows name lie."""
    online: str | None = None
    """`ONLINE` or `REMOTE:…`: LLaMA-Factory looks the names up itself."""

    @property
    def local(self) -> bool:
        """True when nothing has to be fetched."""
        return self.online is None and not any(key in e for e in self.info.values() for key in REMOTE)


def asked(config: Mapping[str, Any], key: str) -> list[str]:
    """The names under `dataset` or `eval_dataset`, at the recipe's top level or in the block."""
    return names(config.get(key)) or names(block(config).get(key))


def select(
    config: Mapping[str, Any], recipe_folder: Path, project: Path, made: Mapping[str, Mapping[str, Any]]
) -> Selected:
    """The entries that the recipe names.

    Args:
        config: The resolved recipe.
        recipe_folder: Where relative paths start.
        project: The folder of the project's dataset_info.json.
        made: Absolute path of a file that an earlier stage leaves → its entry.

    Raises:
        RecipeInvalid: a name stands in no registry.
    """
    given = block(config).get("dataset_dir")
    chosen = Selected()
    if isinstance(given, str) and (given == "ONLINE" or given.startswith("REMOTE:")):
        chosen.train, chosen.eval, chosen.online = (
            asked(config, "dataset"),
            asked(config, "eval_dataset"),
            given,
        )
        return chosen
    registries = _registries(config, recipe_folder, project)
    taken: dict[str, str] = {}
    for key, into in (("dataset", chosen.train), ("eval_dataset", chosen.eval)):
        for name in asked(config, key):
            if name not in taken:
                taken[name] = _take(name, chosen, registries, made)
            into.append(taken[name])
    return chosen


def _take(
    name: str,
    chosen: Selected,
    registries: list[tuple[Path, dict[str, Any]]],
    made: Mapping[str, Mapping[str, Any]],
) -> str:
    """Add the entry of `name` to `chosen.info`; returns its name there."""
    if name in made:
        path = Path(name)
        short = path.stem
        while short in chosen.info:
            short += "_"
        chosen.info[short] = {"file_name": str(path), **made[name]}
        chosen.files.append(path)
        return short
    for folder, info in registries:
        if name not in info:
            continue
        entry = dict(info[name])
        for key in ("file_name", "script_url"):
            if isinstance(entry.get(key), str) and not any(remote in entry for remote in REMOTE):
                path = (folder / entry[key]).absolute()
                entry[key] = str(path)
                chosen.files.append(path)
        if any(key in (entry.get("columns") or {}) for key in ("images", "videos", "audios")):
            chosen.media = folder.absolute()
        chosen.info[name] = entry
        return name
    known = [key for _, info in registries for key in info]
    near = difflib.get_close_matches(name, known, 1)
    raise RecipeInvalid(
        f"the dataset `{name}` is not in {REGISTRY}",
        f"did you mean `{near[0]}`?" if near else f"add an entry to {registries[0][0] / REGISTRY}",
    )


def _registries(
    config: Mapping[str, Any], recipe_folder: Path, project: Path
) -> list[tuple[Path, dict[str, Any]]]:
    """The registries in which names are looked up, each with the folder that its paths start at."""
    given = block(config).get("dataset_dir")
    if isinstance(given, dict):  # LLaMA-Factory takes the entries themselves, too
        return [(roots(config, recipe_folder, project)[0], given)]
    folders = []
    if given:
        found = find(str(given), roots(config, recipe_folder, project))
        folders.append(found or recipe_folder / str(given))
    elif is_plain(config):  # LLaMA-Factory's default
        folders += [Path.cwd() / "data", recipe_folder / "data"]
    folders.append(project)
    read = [(folder, _read(folder / REGISTRY)) for folder in dict.fromkeys(folders)]
    return [(folder, info) for folder, info in read if info is not None] or [(project, {})]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise RecipeInvalid(f"{path} is not JSON: {error}") from error
    return value if isinstance(value, dict) else None
