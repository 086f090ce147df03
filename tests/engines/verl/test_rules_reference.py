"""Rules of `reference:`, and of a Ray cluster to join."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.engines.base import CheckContext
from residency.engines.verl.rules import reference as rules_reference
from residency.engines.verl.rules.view import View
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Span, from_plain


def check(reference: dict[str, Any] | None = None, **verl: Any) -> list[tuple[str, str]]:
    value: dict[str, Any] = {"kind": "rlvr", "verl": {"algorithm.adv_estimator": "grpo", **verl}}
    if reference is not None:
        value["reference"] = reference
    tree = from_plain(value, Span("recipe.yaml", 1, 1, 1, 1))
    assert isinstance(tree, Mapping)
    block = tree.get("verl")
    assert isinstance(block, Mapping)
    found = Diagnostics()
    context = CheckContext(project=Path(), cwd=Path())
    view = View(Recipe(Path("recipe.yaml"), "rlvr", "x", tree), block, context, found)
    for rule in rules_reference.RULES:
        rule(view)
    return [(item.code, item.severity) for item in found]


KL = {"actor_rollout_ref.actor.use_kl_loss": True}


def test_nothing_to_say() -> None:
    assert check() == check({}) == check({"num_iterations": 1}) == []
    assert check({"num_iterations": 2}, **KL, **{"trainer.total_training_steps": 2}) == []
    assert check({"num_iterations": 2}, **{"algorithm.use_kl_in_reward": True}) == []


def test_nothing_is_measured_against_it() -> None:
    assert check({"num_iterations": 2}) == [("unused-key", "warning")]


def test_an_adapter_has_no_reference_of_its_own() -> None:
    for key in ("lora_rank", "lora.rank"):
        found = check({"num_iterations": 2}, **KL, **{f"actor_rollout_ref.model.{key}": 8})
        assert found == [("conflicting-keys", "error")]


def test_policy_and_reference_in_different_workers() -> None:
    for mode, said in (("separate_async", [("conflicting-keys", "error")]), ("sync", [])):
        assert check({"num_iterations": 2}, **KL, **{"trainer.v1.trainer_mode": mode}) == said


def test_more_parts_than_steps() -> None:
    found = check({"num_iterations": 5}, **KL, **{"trainer.total_training_steps": 4})
    assert found == [("out-of-range", "error")]


def test_a_cluster_that_is_joined_has_what_it_has() -> None:
    ray = "ray_kwargs.ray_init"
    assert check(**{f"{ray}.num_cpus": 4}) == []
    assert check(**{f"{ray}.num_cpus": 4, f"{ray}.address": "local"}) == []
    given = {f"{ray}.num_cpus": 4, f"{ray}.address": "10.0.0.1:6379"}
    assert check(**given) == [("conflicting-keys", "error")]
