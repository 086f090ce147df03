"""Profiles that a check does not choose: their own mistakes are found, no others."""

from __future__ import annotations

from pathlib import Path

from residency.plan.check import check

RECIPE = """\
kind: sft
dataset: example_alpaca
llamafactory:
  model_name_or_path: org/model
  template: llama3
  do_train: true
  stage: sft
  finetuning_type: lora
  max_steps: 5
profiles:
  gpu: {llamafactory: {fp16: true, model_name_or_path: ./not/here/yet}}
  named: {name: "${resources.gpus}"}
  odd: {llamafactory: {learning_rate: 1.0}}
"""


def codes(path: Path, *profiles: str) -> list[tuple[int, str]]:
    return [(item.span.line, item.code) for item in check(path, profiles=profiles).found]


def test_what_depends_on_the_machine_is_said_only_when_chosen(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    assert codes(path) == []
    assert (11, "model-missing") in codes(path, "gpu")
    assert (12, "undefined-interpolation") in codes(path, "named")
    assert (13, "unusual-value") in codes(path, "odd")


def test_the_recipes_own_mistakes_are_said_once(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("max_steps: 5", "max_stpes: 5"))
    assert codes(path) == [(9, "unknown-key")]


def test_a_mistake_of_a_profile_goes_when_it_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("learning_rate: 1.0", "learning_rte: 1.0"))
    assert codes(path) == codes(path, "odd") == [(13, "unknown-key")]
