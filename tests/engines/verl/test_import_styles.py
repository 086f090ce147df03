"""Launch scripts in the manner of verl's published ones: each becomes a recipe that passes `check`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.cli.main import main
from residency.engines.verl import tree
from residency.recipe.load import load

ONE_COMMAND = r"""set -x
# export VLLM_ATTENTION_BACKEND=XFORMERS
python3 -m verl.trainer.main_ppo \
    algorithm.adv_estimator=rloo \
    data.train_files=$HOME/data/train.parquet data.val_files=$HOME/data/test.parquet \
    data.train_batch_size=1024 data.max_prompt_length=512 data.max_response_length=1024 \
    data.filter_overlong_prompts=True data.truncation='error' \
    actor_rollout_ref.model.path=org/model-7b \
    actor_rollout_ref.actor.ppo_mini_batch_size=256 \
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=80 \
    actor_rollout_ref.actor.use_kl_loss=False \
    actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=5 \
    actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=160 \
    actor_rollout_ref.rollout.tensor_model_parallel_size=2 \
    actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=160 \
    algorithm.use_kl_in_reward=True algorithm.kl_penalty=kl algorithm.kl_ctrl.kl_coef=0.001 \
    trainer.critic_warmup=0 trainer.logger=['console','wandb'] trainer.experiment_name='seven_b' \
    trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.save_freq=-1 trainer.test_freq=5 \
    trainer.total_epochs=15 $@ 2>&1 | tee "out_$(date +%s).log"
"""
ARRAYS = r"""#!/usr/bin/env bash
set -xeuo pipefail
kind=${DEVICE:-$(python3 -c 'import torch_npu' 2>/dev/null && echo npu || echo gpu)}
MODEL=${MODEL:-org/model-8b}
CRITIC=${CRITIC:-$MODEL}
case "${kind}" in
    gpu) per_node=${PER_NODE:-${GPUS:-8}} ;;
    *) echo "what is ${kind}?" >&2; exit 1 ;;
esac
FILES="['$HOME/data/train.parquet', '$HOME/data/test.parquet']"
SIZES=(data.train_batch_size=${BATCH:-1024} data.max_prompt_length=1024 data.max_response_length=2048)
ACTOR=(
    actor_rollout_ref.model.path="$MODEL"   # which
    actor_rollout_ref.actor.ppo_mini_batch_size=256 actor_rollout_ref.actor.use_dynamic_bsz=True
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=24576
    actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.tensor_model_parallel_size=2
    actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True
)
CRITICS=(critic.model.path="$CRITIC" critic.optim.lr=1e-5 critic.use_dynamic_bsz=True
    critic.ppo_max_token_len_per_gpu=24576 critic.model.fsdp_config.param_offload=False)
EXTRA=()
run=(python3)
if [ "${WITH_UV:-1}" != 0 ]; then
    run=(uv run --no-sync python3)
fi
"${run[@]}" -m verl.trainer.main_ppo algorithm.adv_estimator=gae data.train_files="$FILES" \
    "${SIZES[@]}" "${ACTOR[@]}" "${CRITICS[@]}" trainer.n_gpus_per_node=${per_node} trainer.nnodes=1 \
    trainer.experiment_name=x_$(date +%Y%m%d) trainer.total_epochs=15 "${EXTRA[@]}" "$@"
"""
ADAPTER = r"""GPUS=2
asked=$((16 * GPUS))
train() {
    CUDA_VISIBLE_DEVICES=0,1 nohup python3 -u -m verl.trainer.main_ppo \
        --config-path=config --config-name='ppo_trainer.yaml' $1 \
        data.train_files="[$HOME/data/train.parquet]" data.train_batch_size=${asked} \
        data.val_batch_size=${asked} data.max_prompt_length=512 data.max_response_length=1024 \
        actor_rollout_ref.model.path="org/model-3b" actor_rollout_ref.model.lora_rank=32 \
        actor_rollout_ref.model.lora_alpha=32 actor_rollout_ref.model.target_modules=all-linear \
        actor_rollout_ref.actor.ppo_mini_batch_size=$(( asked / 2 )) \
        actor_rollout_ref.actor.ppo_micro_batch_size=${asked} actor_rollout_ref.actor.use_kl_loss=True \
        actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=5 \
        actor_rollout_ref.rollout.load_format=dummy_dtensor \
        actor_rollout_ref.rollout.log_prob_micro_batch_size=${asked} \
        actor_rollout_ref.rollout.tensor_model_parallel_size=1 \
        actor_rollout_ref.ref.log_prob_micro_batch_size=${asked} \
        "++actor_rollout_ref.model.override_config={attn_implementation: sdpa}" \
        trainer.n_gpus_per_node=$GPUS trainer.total_epochs=1 > run.log 2>&1 &
}
for estimator in grpo gpg; do
    train algorithm.adv_estimator=$estimator
done
wait
"""
DAPO = r"""set -euxo pipefail
longest=$((1024 * 20)); asked=512
MODEL=${MODEL:-"org/model-32b"}
ray job submit --no-wait --runtime-env="env.yaml" --working-dir "${PWD}" -- python3 -m recipe.dapo.main_dapo \
    data.train_files="${FILE:-"${HOME}/data/train.parquet"}" data.prompt_key=prompt data.truncation='left' \
    data.max_prompt_length=2048 data.max_response_length=${longest} \
    data.gen_batch_size=$((asked * 3)) data.train_batch_size=${asked} \
    algorithm.adv_estimator=grpo algorithm.filter_groups.enable=True algorithm.filter_groups.metric=acc \
    algorithm.filter_groups.max_num_gen_batches=10 \
    actor_rollout_ref.actor.clip_ratio_low=0.2 actor_rollout_ref.actor.clip_ratio_high=0.28 \
    actor_rollout_ref.model.path="${MODEL}" +actor_rollout_ref.model.override_config.embd_pdrop=0. \
    actor_rollout_ref.actor.ppo_mini_batch_size=32 actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=$((2048 + longest)) \
    actor_rollout_ref.rollout.n=16 actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True \
    actor_rollout_ref.rollout.tensor_model_parallel_size=4 actor_rollout_ref.rollout.top_k=-1 \
    reward_model.reward_manager=dapo reward_model.overlong_buffer.enable=True \
    reward_model.overlong_buffer.len=4096 reward_model.overlong_buffer.penalty_factor=1.0 \
    trainer.logger=['console','wandb'] trainer.n_gpus_per_node=8 trainer.nnodes="${NODES:-16}" \
    +trainer.val_before_train=False trainer.default_local_dir="${HOME}/ckpts" trainer.resume_mode=auto \
    trainer.total_epochs=1
"""
PLUS_PLUS = ONE_COMMAND.replace("=rloo", "=reinforce_plus_plus").replace("rollout.n=5", "rollout.n=8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            ONE_COMMAND,
            {
                "algorithm.use_kl_in_reward": True,
                "trainer.logger": ["console", "wandb"],
                "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 80,
            },
        ),
        (PLUS_PLUS, {"algorithm.adv_estimator": "reinforce_plus_plus"}),
        (
            ARRAYS,
            {
                "critic.model.path": "org/model-8b",
                "critic.fsdp.param_offload": False,
                "data.train_batch_size": 1024,
            },
        ),
        (
            ADAPTER,
            {
                "algorithm.adv_estimator": "grpo",
                "data.train_batch_size": 32,
                "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 10,
                "actor_rollout_ref.rollout.load_format": "dummy",
                "actor_rollout_ref.model.override_config.attn_implementation": "sdpa",
            },
        ),
        (
            DAPO,
            {
                "data.max_response_length": 20480,
                "algorithm.filter_groups.metric": "acc",
                "trainer.nnodes": 16,
            },
        ),
    ],
    ids=["one-command", "reinforce-plus-plus", "arrays", "adapter", "dapo"],
)
def test_it_imports_and_checks(
    text: str,
    expected: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    prompt = [{"role": "user", "content": "What is 1 + 1?"}]
    rows = [{"data_source": "openai/gsm8k", "prompt": prompt, "reward_model": {"ground_truth": "2"}}] * 2048
    for name in ("train", "test"):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "run.sh").write_text(text)
    assert main(["import", "verl", "run.sh", "-o", "r.yaml"]) == 0
    assert main(["check", "r.yaml"]) == 0, capsys.readouterr().err
    recipe, _ = load(tmp_path / "r.yaml", cwd=tmp_path)
    assert recipe is not None
    found = tree.values(recipe.config["verl"])
    assert {name: found.get(name) for name in expected} == expected
