"""residency.recipe.compose: `extends`, `profiles`"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Load = Callable[..., Any]

BASE = """
kind: sft
name: base
llamafactory: {stage: sft, lora_rank: 8, datasets: [a, b], deepspeed: zero3}
"""


def test_extends_lays_a_recipe_over_another(load_files: Load) -> None:
    loaded = load_files(
        {
            "sub/child.yaml": """
                extends: ../base.yaml
                name: child
                llamafactory: {lora_rank: 16, datasets: [c], deepspeed: null}
                """,
            "base.yaml": BASE,
        }
    )
    assert loaded.found.items == []
    assert loaded.config == {
        "kind": "sft",
        "name": "child",
        "llamafactory": {"stage": "sft", "lora_rank": 16, "datasets": ["c"], "deepspeed": None},
    }
    assert loaded.recipe is not None
    assert [path.name for path in loaded.recipe.files] == ["child.yaml", "base.yaml"]
    assert loaded.recipe.folder.name == "sub"
    block = loaded.recipe.tree.get("llamafactory")
    stage = loaded.recipe.tree.entries["llamafactory"].value.get("stage")  # type: ignore[union-attr]
    assert block is not None
    assert stage.span.file == "base.yaml"


def test_of_several_the_later_wins(load_files: Load) -> None:
    loaded = load_files(
        {
            "r.yaml": "extends: [a.yaml, b.yaml]\nz: 3\n",
            "a.yaml": "kind: sft\nx: 1\ny: 1\n",
            "b.yaml": "y: 2\nz: 2\n",
        }
    )
    assert loaded.config == {"kind": "sft", "x": 1, "y": 2, "z": 3}


def test_one_file_may_be_reached_twice(load_files: Load) -> None:
    loaded = load_files(
        {
            "r.yaml": "extends: [a.yaml, b.yaml]\n",
            "a.yaml": "extends: c.yaml\na: 1\n",
            "b.yaml": "extends: c.yaml\nb: 1\n",
            "c.yaml": "kind: sft\nc: 1\n",
        }
    )
    assert loaded.config == {"kind": "sft", "c": 1, "a": 1, "b": 1}
    assert loaded.found.items == []


def test_a_circle_is_shown(load_files: Load) -> None:
    loaded = load_files(
        {"a.yaml": "extends: b.yaml\n", "b.yaml": "x: 1\nextends: c.yaml\n", "c.yaml": "extends: a.yaml\n"}
    )
    assert loaded.recipe is None
    assert loaded.told == [
        ("c.yaml", 1, 10, "circular-extends", "`extends` runs in a circle: a.yaml → b.yaml → c.yaml → a.yaml")
    ]


def test_a_missing_file_is_named_with_its_neighbour(load_files: Load) -> None:
    loaded = load_files({"x/r.yaml": "kind: sft\nextends: bsae.yaml\n", "x/base.yaml": BASE})
    assert loaded.told == [("x/r.yaml", 2, 10, "bad-extends", "there is no file `x/bsae.yaml`")]
    assert loaded.found.items[0].hint == "did you mean `x/base.yaml`?"


@pytest.mark.parametrize("value", ["3", "[]x", "{a: 1}", "${params.x}", '""'])
def test_extends_takes_files(load_files: Load, value: str) -> None:
    loaded = load_files(
        {"r.yaml": f"kind: sft\nextends: '{value}'\n" if "$" in value else f"kind: sft\nextends: {value}\n"}
    )
    assert loaded.recipe is None
    assert loaded.codes in (["bad-extends"], ["yaml-syntax"])


PROFILES = """
kind: sft
params: {model: big, rank: 8}
llamafactory: {model_name_or_path: "${params.model}", lora_rank: "${params.rank}"}
profiles:
  smoke: {params: {model: small}, llamafactory: {max_steps: 4}}
  tiny: {params: {model: tiny}}
  none:
"""


@pytest.mark.parametrize(
    ("profiles", "model", "steps"),
    [
        ((), "big", None),
        (("smoke",), "small", 4),
        (("smoke", "tiny"), "tiny", 4),
        (("tiny", "smoke"), "small", 4),
        (("none",), "big", None),
    ],
)
def test_later_profiles_win(
    load_files: Load, profiles: tuple[str, ...], model: str, steps: int | None
) -> None:
    loaded = load_files(PROFILES, profiles=profiles)
    assert loaded.found.items == []
    assert loaded.config["llamafactory"]["model_name_or_path"] == model
    assert loaded.config["llamafactory"].get("max_steps") == steps
    assert "profiles" not in loaded.config
    assert "params" not in loaded.config
    assert loaded.recipe is not None
    assert tuple(loaded.recipe.profiles) == ("smoke", "tiny", "none")


def test_profiles_come_down_from_what_is_extended(load_files: Load) -> None:
    loaded = load_files(
        {
            "r.yaml": "extends: base.yaml\nprofiles: {smoke: {llamafactory: {lora_rank: 2}}}\n",
            "base.yaml": PROFILES,
        },
        profiles=("smoke",),
    )
    assert loaded.config["llamafactory"] == {"model_name_or_path": "small", "lora_rank": 2, "max_steps": 4}


def test_a_shared_profile_comes_before_the_recipes_own(load_files: Load) -> None:
    shared = """
        resources: {gpus: 0}
        limit: 5
        llamafactory: {max_steps: 1, bf16: true}
        params: {other: 1, rank: 2}
        """
    loaded = load_files({"r.yaml": PROFILES, "shared/smoke.yaml": shared}, profiles=("smoke",))
    assert loaded.found.items == []
    assert loaded.config == {
        "kind": "sft",
        # `limit` is a key of another kind: a recipe takes what its kind knows.
        "llamafactory": {"model_name_or_path": "small", "lora_rank": 2, "max_steps": 4, "bf16": True},
        "resources": {"gpus": 0},
    }


def test_a_shared_profile_alone_is_known(load_files: Load) -> None:
    loaded = load_files({"r.yaml": PROFILES, "shared/cpu.yaml": "resources: {gpus: 0}\n"}, profiles=("cpu",))
    assert loaded.found.items == []
    assert loaded.config["resources"] == {"gpus": 0}


def test_an_unknown_profile_names_those_that_exist(load_files: Load) -> None:
    loaded = load_files(
        {"r.yaml": PROFILES, "shared/cpu.yaml": "resources: {gpus: 0}\n"}, profiles=("smok", "zzz")
    )
    assert [(d.span.file, d.code, d.hint) for d in loaded.found] == [
        ("--profile smok", "unknown-profile", "did you mean `smoke`?"),
        ("--profile zzz", "unknown-profile", "there are `cpu`, `none`, `smoke`, `tiny`"),
    ]
    assert loaded.recipe is not None


@pytest.mark.parametrize(
    ("profiles", "line"),
    [("profiles: [a]", 2), ("profiles:\n  smoke: 3", 3), ("profiles:\n  smoke:\n    kind: data", 4)],
)
def test_what_is_no_profile(load_files: Load, profiles: str, line: int) -> None:
    loaded = load_files({"r.yaml": f"kind: sft\n{profiles}\n"})
    assert [(d.span.line, d.code) for d in loaded.found] == [(line, "bad-profile")]


def test_a_mistake_in_a_profile_is_placed_in_it(load_files: Load) -> None:
    loaded = load_files(PROFILES.replace("{model: tiny}", "{modle: tiny}"), profiles=("tiny",))
    assert [(d.span.line, d.code, d.hint) for d in loaded.found] == [
        (6, "unknown-param", "did you mean `model`?")
    ]
