"""What passes `check` is not refused by verl's own validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import make_tiny_model

from residency.engines.base import CheckContext
from residency.engines.verl import rules, tree
from residency.engines.verl.rules.view import View
from residency.paths import PROJECT
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.load import load
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Span, from_plain

SPAN = Span("r.yaml", 1, 1, 1, 2)
RIGHT: dict[str, Any] = {
    "algorithm.adv_estimator": "grpo",
    "data.train_batch_size": 16,
    "data.max_prompt_length": 64,
    "data.max_response_length": 64,
    "actor_rollout_ref.model.path": "org/model",
    "actor_rollout_ref.actor.ppo_mini_batch_size": 8,
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 4,
    "actor_rollout_ref.rollout.name": "vllm",
    "actor_rollout_ref.rollout.n": 4,
    "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 8,
    "trainer.total_training_steps": 10,
}


def recipe(verl: dict[str, Any], **top: Any) -> Recipe:
    config = {
        "kind": "rlvr", "dataset": "⟦stages.data.outputs.questions⟧", 
        "rewards": [{"fn": "rewards.x.y"}], "hardware": "gpu",
        "resources": {"gpus": 2}, **top, "verl": verl,
    }  # fmt: skip
    node = from_plain(config, SPAN)
    assert isinstance(node, Mapping)
    return Recipe(Path("r.yaml"), "rlvr", "r", node)


def codes(verl: dict[str, Any], **top: Any) -> list[tuple[str, str]]:
    found = Diagnostics()
    rules.check(recipe(verl, **top), CheckContext(PROJECT, PROJECT), found)
    return [(d.severity, d.code) for d in found]


def test_a_right_recipe() -> None:
    assert codes(RIGHT) == []
    assert codes(tree.nest(RIGHT)) == []


def test_on_a_cpu_the_profile_counts() -> None:
    """What the profile sets is not asked for: engine, micro-batches, tensor parallelism."""
    left = ("rollout.name", "micro_batch_size_per_gpu", "tensor_model_parallel_size")
    block = {name: value for name, value in RIGHT.items() if not name.endswith(left)}
    assert codes(block, hardware="cpu", resources={}) == []
    assert sorted(code for _, code in codes(block)) == ["missing-key", "missing-key"]


def test_values_that_are_known_later_are_not_judged() -> None:
    block = {
        **RIGHT,
        "data.train_batch_size": "⟦stages.a.outputs.b⟧",
        "actor_rollout_ref.model.path": "⟦stages.sft.outputs.model⟧",
    }
    assert codes(block) == []


def test_verls_own_interpolations_are_followed() -> None:
    block = {**RIGHT, "actor_rollout_ref.actor.ppo_mini_batch_size": "${data.train_batch_size}"}
    node = recipe(block)
    view = View(node, node.tree.get("verl"), CheckContext(PROJECT, PROJECT), Diagnostics())  # type: ignore[arg-type]
    assert view.get("actor_rollout_ref.actor.ppo_mini_batch_size") == 16


def test_a_missing_engine_is_said_where_there_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    from residency.engines.verl.rules import rollout as rules_rollout

    monkeypatch.setattr(rules_rollout, "_installed", lambda name: False)
    found = Diagnostics()
    rules.check(recipe(RIGHT), CheckContext(PROJECT, PROJECT, gpus=2), found)
    (said,) = list(found)
    assert said.code == "missing-package"
    assert said.hint is not None
    assert said.hint.startswith('pip install "verl[vllm]==')
    assert codes(RIGHT) == []  # on a machine without GPUs it will not run here


def test_our_own_rollout_may_be_named_on_a_gpu() -> None:
    assert codes({**RIGHT, "actor_rollout_ref.rollout.name": "transformers"}) == []


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"), ["a b c d e f g h"])


def refused(flat: dict[str, Any], model: Path) -> str | None:
    """What verl's validate_config says against a configuration; None when it takes it."""
    import warnings

    from hydra import compose, initialize_config_module
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf, open_dict
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    GlobalHydra.instance().clear()
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer")
    with open_dict(config):
        for name, value in flat.items():
            OmegaConf.update(config, name, value)
        OmegaConf.update(config, "critic.model.path", str(model))
        OmegaConf.update(config, "critic.model.override_config.attn_implementation", "sdpa", force_add=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            validate_config(config, need_reference_policy(config), need_critic(config))
    except Exception as error:  # verl raises whatever it likes
        return f"{type(error).__name__}: {error}"
    return None


A, R = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    """Blocks of which about half are right: sizes that fit each other, then a few keys changed or gone."""
    mini, times, rollouts = (draw(st.sampled_from(choice)) for choice in ((2, 4, 6), (1, 2), (2, 4)))
    each = mini * rollouts // 2
    micro = st.sampled_from([size for size in range(1, each + 1) if each % size == 0])
    block: dict[str, Any] = {
        "algorithm.adv_estimator": draw(st.sampled_from(["grpo", "gae", "rloo", "reinforce_plus_plus"])),
        "data.train_batch_size": mini * times,
        f"{R}.n": rollouts,
        f"{A}.ppo_mini_batch_size": mini,
        f"{A}.ppo_micro_batch_size_per_gpu": draw(micro),
        f"{R}.log_prob_micro_batch_size_per_gpu": draw(micro),
        "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu": draw(micro),
        "critic.ppo_micro_batch_size_per_gpu": draw(micro),
    }
    changes = st.sampled_from(
        [
            (f"{A}.use_dynamic_bsz", True),
            (f"{A}.use_kl_loss", True),
            ("algorithm.use_kl_in_reward", True),
            (f"{A}.ppo_micro_batch_size", 4),
            (f"{A}.ulysses_sequence_parallel_size", 2),
            ("actor_rollout_ref.model.use_remove_padding", False),
            (f"{R}.val_kwargs.do_sample", True),
            (f"{R}.temperature", 0),
            (f"{A}.optim.warmup_style", "cosine"),
            ("critic.enable", True),
            ("critic.enable", False),
            ("critic.ppo_mini_batch_size", mini * times * 2),
            (f"{A}.ppo_mini_batch_size", mini * times * 2),
            ("data.train_batch_size", 3),
            (f"{R}.n", 1),
            (f"{A}.loss_agg_mode", "token-sum"),
            (f"{A}.clip_ratio_c", 1.5),
        ]
    )
    block.update(draw(st.lists(changes, max_size=3)))
    for name in draw(st.sets(st.sampled_from([k for k in block if "micro" in k]), max_size=1)):
        if draw(st.booleans()):
            del block[name]
    return block


@pytest.mark.slow
@pytest.mark.long
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(blocks())
def test_what_passes_is_not_refused_by_verl(tiny: Path, block: dict[str, Any]) -> None:
    pytest.importorskip("verl.utils.config")
    flat = {
        "data.max_prompt_length": 64,
        "data.max_response_length": 64,
        "actor_rollout_ref.model.path": "org/model",
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 1,
        "trainer.total_training_steps": 10,
        **block,
    }
    if any(severity == "error" for severity, _ in codes(flat)):
        return
    assert refused({**flat, "trainer.n_gpus_per_node": 2, "trainer.nnodes": 1}, tiny) is None


@pytest.mark.slow
def test_verl_does_refuse_what_is_wrong(tiny: Path) -> None:
    """Else the test above would prove nothing."""
    pytest.importorskip("verl.utils.config")
    ranks = {"trainer.n_gpus_per_node": 2, "trainer.nnodes": 1}
    assert refused({**RIGHT, **ranks}, tiny) is None
    assert "must be >=" in str(refused({**RIGHT, **ranks, "data.train_batch_size": 4}, tiny))
    wrong = {name: value for name, value in RIGHT.items() if not name.endswith("micro_batch_size_per_gpu")}
    assert refused({**wrong, **ranks}, tiny) is not None


def test_loading_keeps_the_places(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("kind: rlvr\ndataset: d\nverl:\n  trainer:\n    logger: [wanbd]\n")
    loaded, _ = load(path, cwd=tmp_path)
    assert loaded is not None
    found = Diagnostics()
    rules.check(loaded, CheckContext(PROJECT, tmp_path), found)
    (said,) = [d for d in found if d.code == "not-a-choice"]
    assert (said.span.line, said.span.column, said.hint) == (5, 14, "did you mean `wandb`?")
