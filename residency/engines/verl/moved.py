"""Keys of older verl: where verl 0.9.1 has them now, and what came in the place of those that are gone.

Taken from verl 0.9.1's own tree (`_generated_ppo_trainer.yaml`), its `legacy_reward_impl.yaml` and
`migrate_legacy_reward_impl`. That function is called by verl's experimental trainer alone: `main_ppo`
accepts `custom_reward_function.*`, `reward_model.*` and `sandbox_fusion.*` and never reads them, so that
a run would go on with another reward. Here they are errors, and an import translates them.
"""

from __future__ import annotations

from dataclasses import dataclass

ACTOR, ROLLOUT, REF = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref"

MOVED: dict[str, str] = {
    # The reward's own block (0.8).
    "custom_reward_function.path": "reward.custom_reward_function.path",
    "custom_reward_function.name": "reward.custom_reward_function.name",
    "custom_reward_function.reward_kwargs": "reward.custom_reward_function.reward_kwargs",
    "reward_model.reward_manager": "reward.reward_manager.name",
    "reward_model.reward_loop_source": "reward.reward_manager.source",
    "reward_model.reward_loop_module_path": "reward.reward_manager.module.path",
    "reward_model.reward_loop_class_name": "reward.reward_manager.module.name",
    "reward_model.reward_kwargs": "reward.reward_kwargs",
    "reward_model.overlong_buffer": "reward.reward_kwargs.overlong_buffer_cfg",
    "custom_reward_function.overlong_buffer": "reward.reward_kwargs.overlong_buffer_cfg",
    "reward_model.num_workers": "reward.num_workers",
    "reward_model.enable": "reward.reward_model.enable",
    "reward_model.enable_resource_pool": "reward.reward_model.enable_resource_pool",
    "reward_model.n_gpus_per_node": "reward.reward_model.n_gpus_per_node",
    "reward_model.nnodes": "reward.reward_model.nnodes",
    "reward_model.model.path": "reward.reward_model.model_path",
    "reward_model.model_path": "reward.reward_model.model_path",
    "reward_model.rollout": "reward.reward_model.rollout",
    "reward_model.inference": "reward.reward_model.rollout",
    "reward_model.sandbox_fusion": "reward.sandbox_fusion",
    "reward_model.sandbox_fusion_url": "reward.sandbox_fusion.url",
    "sandbox_fusion": "reward.sandbox_fusion",
    # Actor, critic.
    f"{ACTOR}.checkpoint.contents": f"{ACTOR}.checkpoint.save_contents",
    f"{ACTOR}.loss_mode": f"{ACTOR}.policy_loss.loss_mode",
    f"{ACTOR}.use_token_level_loss": f"{ACTOR}.loss_agg_mode",
    f"{ACTOR}.clip_cov_ratio": f"{ACTOR}.policy_loss.clip_cov_ratio",
    f"{ACTOR}.clip_cov_lb": f"{ACTOR}.policy_loss.clip_cov_lb",
    f"{ACTOR}.clip_cov_ub": f"{ACTOR}.policy_loss.clip_cov_ub",
    f"{ACTOR}.kl_cov_ratio": f"{ACTOR}.policy_loss.kl_cov_ratio",
    f"{ACTOR}.ppo_kl_coef": f"{ACTOR}.policy_loss.ppo_kl_coef",
    f"{ACTOR}.optim.warmup_style": f"{ACTOR}.optim.lr_scheduler_type",
    f"{ACTOR}.optim.grad_clip": f"{ACTOR}.optim.clip_grad",
    "critic.optim.warmup_style": "critic.optim.lr_scheduler_type",
    "critic.optim.grad_clip": "critic.optim.clip_grad",
    "critic.model.fsdp_config": "critic.fsdp",
    "critic.checkpoint.contents": "critic.checkpoint.save_contents",
    # Rollout.
    f"{ROLLOUT}.multi_turn.max_turns": f"{ROLLOUT}.multi_turn.max_assistant_turns",
    f"{ROLLOUT}.update_weights_bucket_megabytes": (
        f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes"
    ),
    f"{ROLLOUT}.skip_rollout": "skip.rollout.enable",
    f"{ROLLOUT}.skip_dump_dir": "skip.rollout.dump_dir",
    f"{ROLLOUT}.tool_kwargs.tools_config_file": f"{ROLLOUT}.multi_turn.tool_config_path",
    # Trainer, Ray.
    "trainer.val_generations_to_log_to_wandb": "trainer.log_val_generations",
    "trainer.profile_steps": "global_profiler.steps",
    "trainer.controller_nsight_options": "global_profiler.global_tool_config.nsys.controller_nsight_options",
    "trainer.worker_nsight_options": "global_profiler.global_tool_config.nsys.worker_nsight_options",
    "ray_init": "ray_kwargs.ray_init",
    "ray_init.timeline_json_file": "ray_kwargs.timeline_json_file",
}
"""Old name → new name, of a key or of a block with all that is below it."""

_SERVED = "a reward model is served by the rollout engine now: see `reward.reward_model.rollout`"
_ROLLOUT_CORRECTION = (
    "importance weights are set under `algorithm.rollout_correction` now: "
    "`rollout_is: token`, `rollout_is_threshold: 2.0`"
)
GONE: dict[str, str] = {
    "reward_model": "the reward is made of `rewards:` alone; leave it out",
    "custom_reward_function": "the reward is made of `rewards:` alone; leave it out",
    "reward_model.use_reward_loop": "rewards are always computed by reward workers now; leave it out",
    "reward_model.launch_reward_fn_async": "rewards are always computed aside now; leave it out",
    "reward_model.strategy": _SERVED,
    "reward_model.max_length": "give `reward.reward_model.rollout.prompt_length`",
    "reward_model.micro_batch_size": _SERVED,
    "reward_model.micro_batch_size_per_gpu": _SERVED,
    "reward_model.use_dynamic_bsz": _SERVED,
    "reward_model.forward_max_token_len_per_gpu": _SERVED,
    "reward_model.ulysses_sequence_parallel_size": _SERVED,
    "reward_model.model": _SERVED,
    "reward_model.megatron": _SERVED,
    f"{ACTOR}.fsdp_config.grad_offload": "`fsdp_config.param_offload` moves gradients with the weights",
    f"{REF}.fsdp_config.grad_offload": "`fsdp_config.param_offload` moves all; leave it out",
    "critic.fsdp.grad_offload": "`critic.fsdp.param_offload` moves gradients with the weights",
    f"{ACTOR}.tis_imp_ratio_cap": _ROLLOUT_CORRECTION,
    "algorithm.rollout_is": _ROLLOUT_CORRECTION,
    "algorithm.rollout_is_level": _ROLLOUT_CORRECTION,
    "algorithm.rollout_is_mode": _ROLLOUT_CORRECTION,
    "algorithm.rollout_is_threshold": _ROLLOUT_CORRECTION,
    "algorithm.rollout_is_threshold_lower": _ROLLOUT_CORRECTION,
    "algorithm.rollout_is_veto_threshold": _ROLLOUT_CORRECTION,
    f"{ROLLOUT}.chat_scheduler": f"a loop of your own is named by `{ROLLOUT}.agent.default_agent_loop`",
    f"{ROLLOUT}.multi_turn.completion_callback": (
        f"a loop of your own is named by `{ROLLOUT}.agent.default_agent_loop`"
    ),
    f"{ROLLOUT}.multi_turn.enable_tokenization_sanity_check": (
        f"give `{ROLLOUT}.multi_turn.tokenization_sanity_check_mode: disable | strict | ignore_strippable`"
    ),
    f"{ROLLOUT}.multi_turn.interaction_config_path": (
        f"an agent loop of your own does this now: `{ROLLOUT}.agent.agent_loop_config_path`"
    ),
    f"{ROLLOUT}.tool_kwargs": f"tools are listed in the file `{ROLLOUT}.multi_turn.tool_config_path`",
    f"{ROLLOUT}.use_fire_sampling": "FIRE sampling has been removed; leave it out",
    f"{ROLLOUT}.micro_batch_size": "the engine forms its own batches; leave it out",
    f"{ROLLOUT}.swap_space": f"pass it to the engine: `+{ROLLOUT}.engine_kwargs.vllm.swap_space`",
    f"{ROLLOUT}.max_loras": f"pass it to the engine: `+{ROLLOUT}.engine_kwargs.vllm.max_loras`",
    "trainer.use_legacy_worker_impl": "there is one implementation of workers now; leave it out",
    "trainer.remove_previous_ckpt_in_save": "`checkpoints: {max_keep: 1}` keeps the latest alone",
    "trainer.npu_profile": "profiling is set under `global_profiler` now",
    "trainer.rejection_sample": "`algorithm.filter_groups: {enable: true}` leaves out groups of equal reward",
    "trainer.hybrid_engine": "it is `actor_rollout_ref.hybrid_engine`",
    "hydra": "verl runs in the stage's folder; leave it out",
    "data.interaction_config_path": "agent loops do this now",
    "data.datagen": "write a data stage instead",
}
"""Old name → what to do instead, for keys that have no counterpart."""

PER_GPU: dict[str, str] = {
    f"{ACTOR}.ppo_micro_batch_size": f"{ACTOR}.ppo_micro_batch_size_per_gpu",
    f"{ROLLOUT}.log_prob_micro_batch_size": f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
    f"{REF}.log_prob_micro_batch_size": f"{REF}.log_prob_micro_batch_size_per_gpu",
    "critic.ppo_micro_batch_size": "critic.ppo_micro_batch_size_per_gpu",
    "critic.forward_micro_batch_size": "critic.forward_micro_batch_size_per_gpu",
}
"""Sizes over all GPUs → sizes a GPU. verl 0.9.1 still has the first, and its workers ask for the second."""

STILL_READ = frozenset({f"{ACTOR}.optim.warmup_style", "critic.optim.warmup_style"})
"""Old names that verl 0.9.1 follows, with a warning."""

MEANT: dict[str, dict[str | bool, str]] = {
    # The values of `use_token_level_loss`.
    f"{ACTOR}.loss_agg_mode": {True: "token-mean", False: "seq-mean-token-mean"},
    f"{ROLLOUT}.name": {"sglang_async": "sglang", "vllm_spmd": "vllm", "vllm_v_0_6_3": "vllm"},
    f"{ROLLOUT}.load_format": {
        "dummy_dtensor": "dummy",
        "dummy_megatron": "dummy",
        "dummy_hf": "dummy",
        "hf": "auto",
    },
    f"{ROLLOUT}.mode": {"sync": "async"},
    "reward.reward_manager.name": {"batch": "naive", "prime": "naive"},
}
"""Key → old value → the value of today."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of an old key."""

    old: str
    new: str | None
    """The new name, or None where the key is gone."""
    hint: str


def change(name: str) -> Change | None:
    """What became of a key by its dotted name (without prefix); None for a key of today."""
    if name in PER_GPU:
        return Change(name, PER_GPU[name], f"give `{PER_GPU[name]}`: what one GPU takes at a time")
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        above, rest = ".".join(parts[:length]), ".".join(parts[length:])
        if above in MOVED:
            new = ".".join(filter(None, (MOVED[above], rest)))
            gone = change(new)
            if gone is not None and gone.new is None:
                return Change(name, None, gone.hint)
            return Change(name, new, f"it is called `{new}` now")
        if above in GONE:
            return Change(name, None, GONE[above])
    return None


def renamed() -> dict[str, dict[str, str]]:
    """Block → its old key → the hint, for the schema. It speaks of unknown keys alone."""
    found: dict[str, dict[str, str]] = {}
    for name in (*MOVED, *GONE):
        block, _, key = name.rpartition(".")
        hint = change(name)
        if hint is not None:
            found.setdefault(block, {})[key] = hint.hint
    return found
