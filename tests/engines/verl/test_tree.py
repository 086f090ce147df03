"""verl's tree, flat and back, and its defaults as verl sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.verl import tree
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, plain
from residency.recipe.yaml_reader import read_text

names = st.text("abc_", min_size=1, max_size=3)
trees: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.lists(st.integers(), max_size=2),
    lambda below: st.dictionaries(names, below, min_size=1, max_size=3),
    max_leaves=8,
)


def block(text: str) -> Mapping:
    found = Diagnostics()
    node = read_text(text, "r.yaml", found)
    assert found.ok
    assert isinstance(node, Mapping)
    return node


@given(st.dictionaries(names, trees, max_size=4))
def test_flat_and_back(value: dict[str, Any]) -> None:
    assert tree.nest(tree.values(value)) == value


@given(st.dictionaries(names, trees, max_size=4))
def test_dotted_and_nested_are_one(value: dict[str, Any]) -> None:
    flat = tree.values(value)
    assert tree.values(flat) == flat


def test_places_prefixes_and_order() -> None:
    flat = tree.flatten(block("a: {b: 1, +c.d: 2}\n++e.f: 3\n~g.h:\na.x.y: 4\n"))
    assert {name: (key.prefix, plain(key.node)) for name, key in flat.items()} == {
        "a.b": ("", 1),
        "a.c.d": ("+", 2),
        "e.f": ("++", 3),
        "g.h": ("~", None),
        "a.x.y": ("", 4),
    }
    assert (flat["a.x.y"].span.line, flat["a.x.y"].span.column) == (4, 5)  # of `y`
    assert (flat["e.f"].span.column, flat["a.c.d"].span.column) == (5, 14)


def test_of_two_ways_the_later_counts_and_it_is_said() -> None:
    found = Diagnostics()
    flat = tree.flatten(block("data: {train_batch_size: 1}\ndata.train_batch_size: 2\n"), found)
    assert plain(flat["data.train_batch_size"].node) == 2
    (said,) = list(found)
    assert (said.code, said.severity, said.span.line) == ("duplicate-key", "warning", 2)
    assert said.notes[0][1].line == 1


def test_a_block_given_as_a_whole_replaces_what_stood_in_it() -> None:
    assert tree.values({"a.b.c": 1, "a.b": 2}) == {"a.b": 2}
    assert tree.values({"a.b": 2, "a.b.c": 1}) == {"a.b.c": 1}


def test_a_name_cannot_have_a_value_and_names_below_it() -> None:
    with pytest.raises(ValueError, match="a has names below it"):
        tree.nest({"a.b": 1, "a": 2})
    with pytest.raises(ValueError, match=r"a\.b lies below"):
        tree.nest({"a": 2, "a.b": 1})


@pytest.mark.parametrize(
    ("name", "given_", "expected"),
    [
        ("data.train_batch_size", {}, 1024),
        ("actor_rollout_ref.ref.strategy", {"actor_rollout_ref.actor.strategy": "fsdp2"}, "fsdp2"),
        ("actor_rollout_ref.rollout.log_prob_use_dynamic_bsz", {}, False),
        (
            "actor_rollout_ref.rollout.log_prob_use_dynamic_bsz",
            {"actor_rollout_ref.actor.use_dynamic_bsz": True},
            True,
        ),
        ("critic.ppo_mini_batch_size", {"actor_rollout_ref.actor.ppo_mini_batch_size": 8}, 8),
        ("critic.ppo_micro_batch_size_per_gpu", {"critic.ppo_micro_batch_size": 4}, 4),
        ("critic.forward_max_token_len_per_gpu", {"critic.ppo_max_token_len_per_gpu": 99}, 99),
        ("actor_rollout_ref.rollout.prompt_length", {"data.max_prompt_length": 7}, 7),
        ("actor_rollout_ref.rollout.name", {}, None),
        ("actor_rollout_ref.model.override_config", {}, {}),
    ],
)
def test_defaults_follow_verls_interpolations(name: str, given_: dict[str, Any], expected: object) -> None:
    assert tree.resolved(name, given_) == expected


def test_every_default_resolves_as_omegaconf_resolves_it() -> None:
    """Against verl's own file, read by OmegaConf."""
    omegaconf = pytest.importorskip("omegaconf")
    verl = pytest.importorskip("importlib.metadata").distribution("verl")
    path = Path(str(verl.locate_file("verl/trainer/config/_generated_ppo_trainer.yaml")))
    theirs = omegaconf.OmegaConf.load(path)
    wrong = {}
    for name in tree.defaults():
        expected = omegaconf.OmegaConf.select(theirs, name, throw_on_missing=False)
        if omegaconf.OmegaConf.is_config(expected):
            expected = omegaconf.OmegaConf.to_container(expected, resolve=True)
        ours = tree.resolved(name, {})
        if ours != expected and not isinstance(expected, dict):  # a whole block is no leaf of ours
            wrong[name] = (ours, expected)
    assert set(wrong) == {"trainer.default_local_dir"}  # two in one text; the launcher sets it


def test_known_keys() -> None:
    assert tree.known("data.train_batch_size")
    assert tree.known("actor_rollout_ref.model.override_config.attn_implementation")
    assert not tree.known("data.train_batch_sise")
    assert not tree.known("critic.model.fsdp_config.param_offload")
