"""The model that a word on the command line means: a folder, a run that made one, a name on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from residency.errors import Missing
from residency.files import read_object
from residency.paths import runs_dir

CONFIG, ADAPTER = "config.json", "adapter_config.json"


class Named(NamedTuple):
    """A model, and an adapter on top of it or None."""

    model: str
    adapter: str | None


def find(text: str) -> Named:
    """What `text` means.

    Raises:
        Missing: a path that is not there, a folder or a run without a model.
    """
    given = Path(text).expanduser()
    if given.is_dir():
        if (given / CONFIG).is_file():
            return Named(str(given.absolute()), None)
        if (given / ADAPTER).is_file():
            return Named(_base(given), str(given.absolute()))
        if (given / "run.json").is_file() and (found := _of_run(given, None)):
            return found
        raise Missing(f"{text} holds no model: neither {CONFIG} nor {ADAPTER}", _inside(given))
    if text.startswith(("/", ".", "~")) or text.count("/") > 1:
        raise Missing(f"there is no folder {text}", "a name on the hub is `owner/name`")
    name, _, stage = text.partition(":")
    runs = runs_dir()
    for run in (runs / name / "latest", *sorted(runs.glob(f"*/{name}"))):
        if (run / "run.json").is_file() and (found := _of_run(run, stage or None)):
            return found
    if stage:
        raise Missing(f"the run {name} has no stage {stage} that left a model", f"launch.py show {name}")
    if "/" not in text and (runs / name).is_dir():
        raise Missing(f"the run {name} left no model", f"launch.py show {name}")
    return Named(text, None)


def _of_run(run: Path, wanted: str | None) -> Named | None:
    """What a run's stage `wanted` left, or the last of its stages that left one."""
    for stage in reversed(_items(read_object(run / "run.json").get("stages"))):
        if stage.get("status") != "done" or (wanted is not None and stage.get("name") != wanted):
            continue
        folder = runs_dir() / str(stage.get("folder") or "")
        outputs = read_object(folder / "state.json").get("outputs")
        for key, needed in (("model", CONFIG), ("adapter", ADAPTER)):
            where = outputs.get(key) if isinstance(outputs, dict) else None
            path = (folder / str(where)).absolute() if where else None
            if path is not None and (path / needed).is_file():
                return Named(str(path), None) if key == "model" else Named(_base(path), str(path))
    return None


def _base(adapter: Path) -> str:
    """The model that an adapter belongs to.

    Raises:
        Missing: it does not say so.
    """
    try:
        base = json.loads((adapter / ADAPTER).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError) as error:
        raise Missing(f"{adapter / ADAPTER} cannot be read: {error}") from None
    if not base:
        raise Missing(f"the adapter {adapter} does not say which model it belongs to")
    return str(base)


def _inside(folder: Path) -> str | None:
    below = sorted([*folder.glob(f"*/{CONFIG}"), *folder.glob(f"outputs/*/{CONFIG}")])
    return f"did you mean {below[-1].parent}?" if below else None


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
