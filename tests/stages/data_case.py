"""Runs a data recipe as the launcher would: check, prepare, the command, verify."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.engines.base import CheckContext, Job, Verified
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Span, from_plain
from residency.stages.data import KIND

PROJECT = Path(__file__).resolve().parents[2]


def recipe_of(config: dict[str, Any], folder: Path) -> Recipe:
    tree = from_plain({"kind": "data", **config}, Span("recipe.yaml", 1, 1, 1, 1))
    assert isinstance(tree, Mapping)
    return Recipe(folder / "recipe.yaml", "data", "test", tree)


def check(config: dict[str, Any], folder: Path, project: Path = PROJECT) -> list[tuple[str, str]]:
    found = Diagnostics()
    KIND.check(recipe_of(config, folder), CheckContext(project, folder), found)
    return [(item.code, item.message + " " + (item.hint or "")) for item in found]


@dataclass
class Case:
    config: dict[str, Any]
    folder: Path
    project: Path = PROJECT

    @property
    def job(self) -> Job:
        return Job(
            name="data",
            kind="data",
            config=self.config,
            folder=self.folder / "stage",
            recipe_folder=self.folder,
            project=self.project,
        )

    def prepare(self) -> tuple[tuple[str, ...], dict[str, str]]:
        launch = KIND.engine(self.config).prepare(self.job)
        self.job.folder.mkdir(exist_ok=True)
        for name, text in launch.files.items():
            (self.job.folder / name).write_text(text, encoding="utf-8")
        cache = {"RESIDENCY_CACHE": str(self.folder / "cache")}
        env = {key: value for key, value in os.environ.items() if key != "RESIDENCY_MIRROR"}
        return launch.argv, {**env, **cache, **launch.env}

    def run(self, **env: str) -> subprocess.CompletedProcess[str]:
        KIND.engine(self.config).resume(self.job)
        argv, base = self.prepare()
        return subprocess.run(
            argv,
            cwd=self.job.folder,
            env={**base, **env},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def verify(self) -> Verified:
        return KIND.engine(self.config).verify(self.job)
