"""Fixtures of the recipe language's tests."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.load import load
from residency.recipe.model import Recipe
from residency.recipe.pipeline import expand

KINDS = ("data", "evaluate", "export", "pipeline", "serve", "sft")


class Loaded(NamedTuple):
    """A recipe, its stages when it is a pipeline, and what was found."""

    recipe: Recipe | None
    stages: dict[str, Recipe]
    found: Diagnostics

    @property
    def codes(self) -> list[str]:
        return [item.code for item in self.found]

    @property
    def config(self) -> dict[str, Any]:
        assert self.recipe is not None, self.told
        return self.recipe.config

    @property
    def told(self) -> list[tuple[str, int, int, str, str]]:
        return [(d.span.file, d.span.line, d.span.column, d.code, d.message) for d in self.found]


Load = Callable[..., Loaded]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Writes files into the folder in which the test runs."""
    monkeypatch.chdir(tmp_path)

    def write_files(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"), encoding="utf-8")

    return write_files


@pytest.fixture
def load_files(write: Callable[[Mapping[str, str]], None], tmp_path: Path) -> Load:
    """Loads the first of some files; a pipeline is expanded."""

    def run(
        files: Mapping[str, str] | str,
        *,
        profiles: tuple[str, ...] = (),
        overrides: tuple[str, ...] = (),
        **more: Any,
    ) -> Loaded:
        if isinstance(files, str):
            files = {"recipe.yaml": files}
        write(files)
        shared = tmp_path / "shared"
        recipe, found = load(
            Path(next(iter(files))),
            profiles=profiles,
            overrides=overrides,
            shared_profiles=shared,
            kinds=KINDS,
            **more,
        )
        stages: dict[str, Recipe] = {}
        if recipe is not None and recipe.kind == "pipeline":
            stages, _, said = expand(recipe, profiles=profiles, shared_profiles=shared, kinds=KINDS)
            found.extend(said)
        return Loaded(recipe, stages, found)

    return run
