"""A launch script and the recipe that is made of it mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.cli.main import main
from residency.engines.verl import tree
from residency.engines.verl.importing import hydra_words
from residency.engines.verl.importing.importer import Imported, read_call, to_recipe
from residency.errors import RecipeInvalid
from residency.recipe.load import load

ARRAYS = """#!/usr/bin/env bash
set -xeuo pipefail
MODEL=${MODEL:-org/model-1b}   # which
DATA_HOME=$HOME/sets
length=$((256 * 2))
COMMON=(
    data.max_prompt_length=${length}
    # a comment between
    data.max_response_length=$((length / 2))
    data.train_files="['$DATA_HOME/a.parquet', '$DATA_HOME/b.parquet']"
)
COMMON+=(data.val_files=$DATA_HOME/val.parquet)
export NCCL_DEBUG=WARN
export WANDB_API_KEY=abc123
python3 -m verl.trainer.main_ppo --config-name=ppo_trainer \\
    algorithm.adv_estimator=grpo \\
    "${COMMON[@]}" \\
    data.train_batch_size=64 data.filter_overlong_prompts=True data.truncation='error' \\
    actor_rollout_ref.model.path="$MODEL" \\
    +actor_rollout_ref.model.override_config.attn_implementation=sdpa \\
    ++actor_rollout_ref.rollout.engine_kwargs.vllm.seed=3 \\
    ~actor_rollout_ref.rollout.seed \\
    +trainer.note='a b' \\
    actor_rollout_ref.actor.ppo_mini_batch_size=32 \\
    actor_rollout_ref.actor.ppo_micro_batch_size=32 \\
    actor_rollout_ref.actor.optim.lr=1e-6 \\
    actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=4 \\
    actor_rollout_ref.rollout.tensor_model_parallel_size=2 \\
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=24 \\
    trainer.logger='["console","wandb"]' \\
    trainer.experiment_name=run_$(date +%s) \\
    trainer.n_gpus_per_node=4 trainer.nnodes=1 trainer.total_epochs=2 trainer.test_freq=5 \\
    custom_reward_function.path=scoring/mine.py custom_reward_function.name=judge \\
    +custom_reward_function.reward_kwargs.bonus=0.5 \\
    trainer.resume_mode=auto $@
"""


def made(text: str, folder: Path, name: str = "run.sh") -> Imported:
    return to_recipe(
        folder / name, text, out=folder / "r.yaml", cwd=folder, schema=folder / "recipe.schema.json"
    )


def config(text: str, folder: Path) -> dict[str, Any]:
    path = folder / "r.yaml"
    path.write_text(made(text, folder).text)
    recipe, found = load(path, cwd=folder)
    assert recipe is not None
    assert found.ok, list(found)
    return recipe.config


def script(*overrides: str, before: str = "") -> str:
    return f"{before}\npython3 -m verl.trainer.main_ppo " + " ".join(overrides) + "\n"


def test_a_script_with_arrays(tmp_path: Path) -> None:
    found = config(ARRAYS, tmp_path)
    flat = tree.settings(found.pop("verl"))
    assert found == {
        "kind": "rlvr",
        "name": "run",
        "resources": {"gpus": 4},
        "env": {"NCCL_DEBUG": "WARN", "WANDB_API_KEY": "⟦secret:WANDB_API_KEY⟧"},
        "dataset": ["~/sets/a.parquet", "~/sets/b.parquet"],
        "eval_dataset": "~/sets/val.parquet",
        "rewards": [{"fn": "rewards.mine.judge", "args": {"bonus": 0.5}}],
        "gold_check": False,
    }
    assert {setting.key: setting.value for setting in flat.values()} == {
        "algorithm.adv_estimator": "grpo",
        "data.max_prompt_length": 512,
        "data.max_response_length": 256,
        "data.train_batch_size": 64,
        "actor_rollout_ref.model.path": "org/model-1b",
        "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
        "actor_rollout_ref.rollout.engine_kwargs.vllm.seed": 3,
        "~actor_rollout_ref.rollout.seed": None,
        "+trainer.note": "a b",
        "actor_rollout_ref.actor.ppo_mini_batch_size": 32,
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 8,
        "actor_rollout_ref.actor.optim.lr": 1e-6,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.n": 4,
        "actor_rollout_ref.rollout.tensor_model_parallel_size": 2,
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu": 16,  # 24 leaves a rest of 64
        "trainer.logger": ["console", "wandb"],
        "trainer.total_epochs": 2,
        "trainer.test_freq": 5,
    }


def test_what_was_changed_is_said(tmp_path: Path) -> None:
    found = made(ARRAYS, tmp_path)
    assert "abc123" not in found.text
    said = "\n".join(found.notes)
    for words in (
        "`actor_rollout_ref.actor.ppo_micro_batch_size: 32` over 4 GPUs is",
        "`custom_reward_function.*` is `reward.custom_reward_function.*` now",
        "`trainer.experiment_name` left out",
        "log_prob_micro_batch_size_per_gpu: 24` is 16",
    ):
        assert words in said
        head = " ".join(line.lstrip("# ") for line in found.text.split("\nkind:")[0].splitlines())
        assert words in head  # and at the recipe's head, for who reads it later
    assert any("copy scoring/mine.py to rewards/mine.py" in item for item in found.todo)
    assert any("without `gold_check: false` the reward is checked" in item for item in found.todo)
    assert any("WANDB_API_KEY" in item for item in found.todo)


def test_what_the_script_does_not_tell_becomes_a_parameter(tmp_path: Path) -> None:
    text = script(
        "actor_rollout_ref.model.path=$BASE",
        "data.train_files=$DIR/x.parquet",
        "trainer.nnodes=$(wc -l < hosts)",
    )
    found = made(text, tmp_path)
    (tmp_path / "r.yaml").write_text(found.text)
    recipe, diagnostics = load(tmp_path / "r.yaml", cwd=tmp_path)
    assert [d.code for d in diagnostics] == ["missing-param"] * 3
    values = ("params.base=org/m", "params.dir=/data", "params.nnodes=2")
    recipe, diagnostics = load(tmp_path / "r.yaml", overrides=values, cwd=tmp_path)
    assert recipe is not None
    assert diagnostics.ok
    flat = tree.values(recipe.config["verl"])
    assert recipe.config["dataset"] == "/data/x.parquet"
    assert (flat["actor_rollout_ref.model.path"], flat["trainer.nnodes"]) == ("org/m", 2)


def test_old_values_and_keys_that_are_gone(tmp_path: Path) -> None:
    text = script(
        "actor_rollout_ref.rollout.name=sglang_async",
        "actor_rollout_ref.actor.fsdp_config.grad_offload=False",
        "critic.model.fsdp_config.param_offload=True",
        "algorithm.adv_estimator=gae",
        "trainer.val_generations_to_log_to_wandb=3",
        "actor_rollout_ref.actor.no_such_key=1",
        "reward_model.reward_manager=dapo",
        "+reward_model.reward_kwargs.overlong_buffer_cfg.enable=True",
        "+reward_model.reward_kwargs.overlong_buffer_cfg.len=128",
    )
    found = made(text, tmp_path)
    flat = tree.values(config(text, tmp_path)["verl"])
    assert flat == {
        "actor_rollout_ref.rollout.name": "sglang",
        "critic.fsdp.param_offload": True,
        "algorithm.adv_estimator": "gae",
        "trainer.log_val_generations": 3,
    }
    notes = "\n".join(found.notes)
    assert "`actor_rollout_ref.actor.no_such_key: 1` left out" in notes
    assert "grad_offload` left out" in notes
    assert "the reward manager `dapo` left out" in notes
    assert any("last 128 tokens" in item for item in found.todo)


def test_a_script_of_the_first_dapo(tmp_path: Path) -> None:
    """Keys that had other names before the reward had a block of its own; sizes that verl refuses now."""
    text = """
here=$(cd -- "$(dirname "${BASH_SOURCE[0]}")/.." >/dev/null 2>&1 && pwd)
asked=64
if [ $# -gt 0 ]; then engine=$1; else engine=vllm; fi
ray job submit --no-wait --working-dir "${PWD}" -- python3 -m recipe.dapo.src.main_dapo \\
    algorithm.adv_estimator=grpo data.train_batch_size=${asked} data.gen_batch_size=$((asked * 3)) \\
    data.image_key=images actor_rollout_ref.rollout.name=$engine \\
    actor_rollout_ref.actor.use_token_level_loss=False \\
    reward_model.reward_manager=dapo reward_model.overlong_buffer.enable=True \\
    reward_model.overlong_buffer.len=$((1024 * 4)) \\
    custom_reward_function.overlong_buffer.penalty_factor=0.5 \\
    +reward_model.judge.path=org/judge +trainer.judge_nodes=4 \\
    actor_rollout_ref.rollout.multi_turn.tool_config_path=$here/tools.yaml
""".replace("\\\\", "\\")
    found = made(text, tmp_path)
    flat = tree.values(config(text, tmp_path)["verl"])
    assert flat == {
        "algorithm.adv_estimator": "grpo",
        "data.train_batch_size": 64,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean",
        "actor_rollout_ref.rollout.multi_turn.tool_config_path": "../tools.yaml",
        "trainer.judge_nodes": 4,
    }
    notes = "\n".join(found.notes)
    assert "`data.gen_batch_size: 192` left out" in notes
    assert "`reward_model.judge.path` left out" in notes
    assert "last 4096 tokens, factor 0.5" in "\n".join(found.todo)
    assert any("`data.image_key`" in item for item in found.todo)


def test_how_long_prompts_are_treated(tmp_path: Path) -> None:
    def rows(*overrides: str) -> Any:
        return config(script("data.train_files=a.parquet", *overrides), tmp_path).get("rows")

    assert rows("data.filter_overlong_prompts=True", "data.truncation=error") is None  # dropped, the default
    assert rows("data.truncation=left") == {"long_prompts": "truncate"}
    assert rows("data.truncation=error", "data.train_max_samples=10") == {
        "long_prompts": "stop",
        "max_samples": 10,
    }


def test_columns_of_other_names_are_told_to_the_user(tmp_path: Path) -> None:
    text = script("data.train_files=a.parquet", "data.prompt_key=messages", "data.reward_fn_key=source")
    todo = "\n".join(made(text, tmp_path).todo)
    assert "the column `messages`, and `prompt` is read" in todo
    assert "gives them the column `source`" in todo
    assert "rows" not in config(text, tmp_path)


def test_a_configuration_file_beside_the_script_is_read(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "mine.yaml").write_text(
        "defaults: [ppo_trainer, _self_]\ndata: {train_batch_size: 8, max_prompt_length: 9}\n"
    )
    text = script('--config-path="$(pwd)/config"', "--config-name mine", "data.train_batch_size=4")
    flat = tree.values(config(text, tmp_path)["verl"])
    assert (flat["data.train_batch_size"], flat["data.max_prompt_length"]) == (4, 9)
    missing = made(text.replace("mine", "other"), tmp_path)
    assert any("other.yaml" in item for item in missing.todo)


def test_paths_start_at_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets" / "a.parquet").touch()
    text = script("data.train_files=sets/a.parquet", "actor_rollout_ref.model.path=org/model")
    out = tmp_path / "recipes" / "r.yaml"
    found = to_recipe(tmp_path / "x.sh", text, out=out, cwd=tmp_path, schema=tmp_path / "s.json")
    assert "dataset: ../sets/a.parquet" in found.text
    assert "path: org/model" in found.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo hello\n", "starts nothing of verl's"),
        (
            "python3 -m verl.trainer.fsdp_sft_trainer data.x=1\n",
            "line 1: the script starts verl.trainer.fsdp_sft",
        ),
        (script("model_engine=megatron"), "Megatron"),
        (script("--config-name=ppo_megatron_trainer.yaml"), "Megatron"),
        (script("actor_rollout_ref.actor.megatron.tensor_model_parallel_size=2"), "Megatron"),
    ],
)
def test_scripts_that_no_recipe_can_be_made_of(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match=words):
        made(text, tmp_path)


def test_the_command_may_stand_behind_others() -> None:
    text = "cd x\nray job submit -- python3 -u -m verl.trainer.main_ppo data.train_batch_size=2"
    assert read_call(text).overrides["data.train_batch_size"].value == 2
    text = (
        'L=(uv run python3)\n"${L[@]}" /opt/verl/trainer/main_ppo.py data.train_batch_size=3 2>&1 | tee log'
    )
    call = read_call(text)
    assert call.overrides["data.train_batch_size"].value == 3
    assert call.notes == []


def test_settings_behind_a_comment_are_lost_as_in_the_shell() -> None:
    text = "python3 -m verl.trainer.main_ppo a.b=1 \\\n  # why \\\n  data.train_batch_size=2\n"
    call = read_call(text)
    assert list(call.overrides) == ["a.b"]
    assert "line 3: `data.train_batch_size=2` is no part of the command" in call.notes[0]


def test_of_several_commands_the_first_is_taken() -> None:
    call = read_call(script("a.b=1") + script("a.b=2"))
    assert call.overrides["a.b"].value == 1
    assert "2 times" in call.notes[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1e-6", 1e-6), ("0.5", 0.5), ("True", True), ("false", False), ("null", None), ("", ""),
        ("a/b.c", "a/b.c"), ("'1'", "1"), ('"a, b"', "a, b"), ("[console,wandb]", ["console", "wandb"]),
        ("['a','b c']", ["a", "b c"]), ('["a", 1, null]', ["a", 1, None]), ("[]", []), ("{}", {}),
        ("{a:1,b:{c:[1]}}", {"a": 1, "b": {"c": [1]}}), ("it's", "it's"), ("[a", "[a"), ("-1", -1),
        ("${data.x}", "${data.x}"), ("re:.*x$", "re:.*x$"), ("2024-01-01", "2024-01-01"),
    ],
)  # fmt: skip
def test_values_as_hydra_reads_them(text: str, value: object) -> None:
    assert hydra_words.value(text) == value


@pytest.mark.parametrize(
    "text", ["1", "1e-6", "True", "null", "a/b", "'1'", "[a,b]", "['a',1]", "{a:1}", "-1"]
)
def test_values_agree_with_hydra(text: str) -> None:
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    (theirs,) = parser.parse_overrides([f"a={text}"])
    expected = theirs.value()
    expected = json.loads(json.dumps(expected, default=str))
    assert hydra_words.value(text) == expected


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.sh"
    path.write_text(ARRAYS)
    out = tmp_path / "r.yaml"
    assert main(["import", "verl", str(path), "-o", str(out)]) == 0
    said = capsys.readouterr()
    assert "wrote" in said.out
    assert "to fill in:" in said.err
    assert out.read_text().startswith("# yaml-language-server")
    assert main(["import", "verl", str(path), "-o", str(out)]) == 2
    assert main(["import", "verl", str(path)]) == 0
    path.write_bytes(b"\xff\xfe")
    assert main(["import", "verl", str(path)]) == 2
