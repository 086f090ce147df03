"""What stands in a stage's folder before its command starts: the engine's files, stage.yaml, command.txt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from residency import files
from residency.plan.model import Command
from residency.recipe import tokens
from residency.run.environment import command_line
from residency.run.state import jsonable

STAGE = "stage.yaml"
COMMAND = "command.txt"
LOG = "log.txt"


def dump_yaml(value: Any) -> str:
    """Plain values as YAML, in their own order, long lines left whole."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(value, Dumper=dumper, sort_keys=False, allow_unicode=True, width=10_000))


def stage_text(stage: Command) -> str:
    """stage.yaml: the resolved recipe with the paths of earlier stages filled in; secrets by name.

    It is data, read as it stands: `${` in it is text.
    """
    named = tokens.replace(dict(stage.job.config), lambda body: f"${{{body}}}")
    return dump_yaml(jsonable(named))


def command_text(stage: Command, env: Mapping[str, str]) -> str:
    """command.txt: one line that repeats the stage by hand from its folder."""
    engine = stage.engine
    by = f"{engine.name} {engine.version() or 'not installed'}" if engine else ""
    what = "Service" if stage.recipe.kind == "serve" else "Stage"
    return (
        f"# {what} {stage.name}, {by}. From this folder: sh {COMMAND}\n"
        f"{command_line(stage.launch.argv, env)}\n"
    )


def write(folder: Path, stage: Command, env: Mapping[str, str]) -> None:
    """Write all of it into `folder`; a file that is already what it should be is left alone."""
    texts = {STAGE: stage_text(stage), **stage.launch.files, COMMAND: command_text(stage, env)}
    for name, text in texts.items():
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{stage.name} wants to write {name}, outside the stage's folder")
        path = folder / relative
        try:
            if path.read_text(encoding="utf-8") == text:
                continue
        except (OSError, UnicodeDecodeError):
            pass
        files.write_text(path, text)
    (folder / "outputs").mkdir(exist_ok=True)
