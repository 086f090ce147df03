"""The prompt style of an `evaluate` recipe, resolved for a task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.lm_eval import places
from residency.engines.lm_eval.taskfiles import TaskFile
from residency.evaluation import styles

READINGS = ("strict", "lenient")


def keys(
    config: Mapping[str, Any], task: TaskFile, starts: tuple[Path, ...], project: Path
) -> dict[str, Any]:
    """The keys of the style that a task is asked in: the recipe's `prompt:`, else the task's own.

    Args:
        config: The resolved recipe.
        task: One of the project's tasks of questions.
        starts: Folders at which a relative path may start.
        project: The folder that holds recipes/prompts/.

    Raises:
        BadStyle: There is no such style, or its file cannot be read.
    """
    given = config.get("prompt") or task.prompt
    if isinstance(given, Mapping) and "style" not in given and isinstance(task.prompt, str):
        given = {"style": task.prompt, **given}
    found = styles.keys_of(given, starts, project)
    found.pop("description", None)
    path = found.get("examples")
    if isinstance(path, str) and not places.is_token(path):
        found["examples"] = str(places.place(path, starts))
    return found


def files(config: Mapping[str, Any], task: TaskFile, starts: tuple[Path, ...], project: Path) -> list[Path]:
    """The files that a task's style is made of: its YAML, the file of examples."""
    found = []
    for given in (config.get("prompt"), task.prompt):
        name = given.get("style") if isinstance(given, Mapping) else given
        path = styles.file_of(str(name), starts, project) if name else None
        if path is not None:
            found.append(path)
    try:
        examples = keys(config, task, starts, project).get("examples")
    except styles.BadStyle:  # `check` says so
        return found
    if examples and Path(examples).is_file():
        found.append(Path(examples))
    return found


def readings(config: Mapping[str, Any], task: TaskFile, starts: tuple[Path, ...], project: Path) -> list[str]:
    """The dotted paths by which a task's answers are read."""
    try:
        style = keys(config, task, starts, project)
    except styles.BadStyle:
        style = {}
    own = dict(task.config.get("dataset_kwargs") or {})
    return [str(style.get(key) or own[key]) for key in READINGS if style.get(key) or own.get(key)]


def chat(block: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """`apply_chat_template` as the styles want it, where the recipe's `lm_eval:` does not say.

    Args:
        block: lm-eval's arguments so far.
        asked: Task → the keys of its style.
    """
    wanted = {style["chat"] for style in asked.values() if isinstance(style.get("chat"), bool)}
    if "apply_chat_template" in block or len(wanted) != 1:
        return {}
    return {"apply_chat_template": wanted.pop()}
