"""Files beside recipes, given in place of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from residency.plan.check import check

PROJECT = Path(__file__).resolve().parents[2]


def sole(path: Path) -> tuple[str, str]:
    checked = check(path)
    assert checked.recipe is None
    (item,) = checked.found
    assert item.code == "not-a-recipe"
    return item.message, item.hint or ""


@pytest.mark.parametrize("path", sorted((PROJECT / "recipes/tasks").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_task_that_ships_is_known_for_one(path: Path) -> None:
    message, hint = sole(path)
    assert "is a task" in message
    assert f"tasks: [{path.stem}]" in hint


@pytest.mark.parametrize("path", sorted((PROJECT / "recipes/prompts").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_prompt_style_is_known_for_one(path: Path) -> None:
    message, hint = sole(path)
    assert "is a prompt style" in message
    assert f"prompt: {path.stem}" in hint


@pytest.mark.parametrize("path", sorted((PROJECT / "recipes/profiles").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shared_profile_is_known_for_one(path: Path) -> None:
    message, hint = sole(path)
    assert "is a profile" in message
    assert f"--profile {path.stem}" in hint


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("dataset_info.json", "is a registry of datasets"),
        ("residency/engines/llamafactory/deepspeed/zero3.json", "is a DeepSpeed configuration"),
    ],
)
def test_other_files_of_the_project(path: str, words: str) -> None:
    assert words in sole(PROJECT / path)[0]


def test_the_lock_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "20260301-120000-ab12" / "recipe.lock.yaml"
    path.parent.mkdir()
    path.write_text("name: quickstart\nstages: {}\n")
    assert sole(path) == (
        f"`{path}` is the record of a run, not a recipe",
        "python launch.py show 20260301-120000-ab12 shows the run, and its recipe",
    )


@pytest.mark.parametrize(
    "text", ["kind: evaluate\ntask: x\ndoc_to_text: y\n", "task: x\n", "resources: {gpus: 0}\n"]
)
def test_what_may_be_meant_as_a_recipe_is_read_as_one(text: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    found = [item.code for item in check(path).found]
    assert found
    assert "not-a-recipe" not in found


def test_a_task_in_place_of_a_stages_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(f"kind: pipeline\nstages:\n  a: {{recipe: {PROJECT}/recipes/tasks/pubmedqa.yaml}}\n")
    assert [item.code for item in check(path).found] == ["not-a-recipe"]
