"""The tables of old keys and known names agree with verl's own files."""

from __future__ import annotations

import ast
import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

from residency.engines.verl import moved, tree
from residency.engines.verl.rules import algorithm as rules_algorithm
from residency.engines.verl.rules import steps as rules_steps

VERL = Path(str(importlib.metadata.distribution("verl").locate_file("verl")))


def exists(name: str) -> bool:
    return tree.known(name) or any(leaf.startswith(name + ".") for leaf in tree.defaults())


@pytest.mark.parametrize("old", [*moved.MOVED, *moved.PER_GPU])
def test_the_new_name_is_in_verls_tree(old: str) -> None:
    change = moved.change(old)
    assert change is not None
    if change.new is None:
        return
    free = ("reward.reward_kwargs", "reward.custom_reward_function.reward_kwargs")  # taken by `+`
    assert exists(change.new) or change.new.startswith(free)


@pytest.mark.parametrize("old", [*moved.MOVED, *moved.GONE])
def test_the_old_name_is_not_read_any_more(old: str) -> None:
    dead = ("custom_reward_function", "reward_model", "sandbox_fusion")
    assert not exists(old) or old.split(".")[0] in dead or old in moved.STILL_READ


def test_every_key_of_verls_legacy_file_is_in_the_tables() -> None:
    legacy = yaml.safe_load((VERL / "trainer/config/legacy_reward_impl.yaml").read_text())
    for name in tree.values(legacy):
        assert moved.change(name) is not None, name


def test_main_ppo_does_not_migrate_old_reward_keys() -> None:
    """Else the rule that calls them dead would be wrong."""
    for file in ("trainer/main_ppo.py", *(f"trainer/ppo/v1/{n}.py" for n in ("trainer_base", "utils"))):
        assert "migrate_legacy" not in (VERL / file).read_text()


def test_what_is_below_a_moved_block_moves_with_it() -> None:
    change = moved.change("critic.model.fsdp_config.param_offload")
    assert change is not None
    assert change.new == "critic.fsdp.param_offload"
    gone = moved.change("critic.model.fsdp_config.grad_offload")
    assert gone is not None
    assert gone.new is None
    assert moved.change("critic.model.path") is None


def registered(decorator: str) -> set[str]:
    """The names under which verl's core_algos registers functions."""
    text = (VERL / "trainer/ppo/core_algos.py").read_text()
    members = dict(re.findall(r"^    ([A-Z_]+) = \"(\w+)\"$", text, re.M))
    found = set()
    for node in ast.walk(ast.parse(text)):
        for item in getattr(node, "decorator_list", []):
            if isinstance(item, ast.Call) and getattr(item.func, "id", "") == decorator:
                (argument,) = item.args
                found.add(
                    argument.value if isinstance(argument, ast.Constant) else members[argument.attr]
                    if isinstance(argument, ast.Attribute) else ""
                )  # fmt: skip
    return {str(name) for name in found}


def test_estimators_and_losses_are_those_that_verl_registers() -> None:
    assert registered("register_adv_est") == set(rules_algorithm.ESTIMATORS)
    assert registered("register_policy_loss") == set(rules_algorithm.LOSSES)


def test_loggers_are_those_that_verl_has() -> None:
    text = (VERL / "utils/tracking.py").read_text()
    listed = re.search(r"supported_backend = \[(.*?)\]", text, re.S)
    assert listed is not None
    assert set(re.findall(r'"(\w+)"', listed[1])) == set(rules_steps.LOGGERS)
