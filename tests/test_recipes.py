"""Every recipe that ships: it opens as it should, checks without a mistake, plans, and runs small."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from residency.plan.build import build
from residency.plan.check import check
from residency.plan.hashing import FileHashes
from residency.run.store import Store

PROJECT = Path(__file__).resolve().parent.parent
RECIPES = sorted(
    path
    for path in (PROJECT / "recipes").rglob("*.yaml")
    if not path.is_relative_to(PROJECT / "recipes" / "tasks")
    and not path.is_relative_to(PROJECT / "recipes" / "prompts")
    and not path.is_relative_to(PROJECT / "recipes" / "profiles")
)


def name(path: Path) -> str:
    return path.relative_to(PROJECT / "recipes").as_posix()


def profiles(path: Path) -> list[str]:
    found = yaml.safe_load(path.read_text()).get("profiles") or {}
    return [*found, *(p.stem for p in (PROJECT / "recipes" / "profiles").glob("*.yaml"))]


CASES = [(path, profile) for path in RECIPES for profile in (None, *profiles(path))]


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_it_opens_with_its_schema_and_its_command(path: Path) -> None:
    first, second = path.read_text().splitlines()[:2]
    depth = len(path.relative_to(PROJECT).parts) - 1
    assert first == f"# yaml-language-server: $schema={'../' * depth}schemas/recipe.schema.json"
    assert f"python launch.py {path.relative_to(PROJECT)}" in second
    assert (path.parent / first.partition("$schema=")[2]).resolve().is_file()


@pytest.mark.parametrize(
    ("path", "profile"), CASES, ids=lambda value: name(value) if isinstance(value, Path) else str(value)
)
def test_it_checks_and_plans(path: Path, profile: str | None, tmp_path: Path) -> None:
    chosen = [profile] if profile else []
    checked = check(path, profiles=chosen)
    assert [f"{d.span.line}: {d.code}: {d.message}" for d in checked.found] == []
    assert checked.recipe is not None
    plan = build(
        checked.recipe, checked.stages, store=Store(tmp_path), hashes=FileHashes(tmp_path / "hashes.json")
    )
    assert plan.stages
    assert len({stage.key for stage in plan.stages}) == len(plan.stages)
    assert all(stage.launch.argv for stage in plan.stages)


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_it_is_valid_for_an_editor(path: Path) -> None:
    import jsonschema

    schema = json.loads((PROJECT / "schemas" / "recipe.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(path.read_text()))


@pytest.mark.parametrize("path", RECIPES, ids=name)
def test_a_dry_run_writes_what_would_be_used(path: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "launch.py", str(path), "--dry-run", "--plain"],
        cwd=PROJECT,
        env={"PATH": "/usr/bin:/bin", "RESIDENCY_RUNS": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (run_dir,) = tmp_path.glob("*/*-dry-run")
    stages = [folder for folder in (run_dir / "stages").iterdir() if folder.is_dir()]
    assert stages
    for folder in stages:
        assert (folder / "command.txt").read_text().strip()
        assert (folder / "stage.yaml").is_file()
        assert not (folder / "log.txt").exists(), "nothing was started"
    assert not (tmp_path / "store").exists() or not any((tmp_path / "store").iterdir())
