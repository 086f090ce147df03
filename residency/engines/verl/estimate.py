"""The GPU memory of a training by verl: actor, critic and rollout engine take turns on the same GPUs.

While answers are generated, the engine takes `gpu_memory_utilization` of the GPU beside what stays there
of actor and critic (weights and optimizer, unless they are offloaded). While it is trained, the engine's
memory is free again (`free_cache_engine`). The reference is always kept on the CPU by FSDP (verl 0.9.1,
`workers/engine/fsdp`: `forward_only` turns on CPU offload) and gathered layer by layer.

The parts are counted by the formulas of `residency.engines.memory`; here is what differs: FSDP keeps
weights, gradients and Adam's moments in the dtype of `fsdp_config.model_dtype`, float32 by default, and
gathers a layer in 16 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from residency.engines import memory, model_shape
from residency.engines.base import Job, MemoryEstimate
from residency.engines.model_shape import Shape
from residency.engines.verl import places, settings, tree
from residency.engines.verl.rules.view import ACTOR, CRITIC, MODEL, ROLLOUT

WIDTH = {"fp32": 4.0, "float32": 4.0, "bf16": 2.0, "bfloat16": 2.0, "fp16": 2.0, "float16": 2.0}
"""Bytes a parameter, by `model_dtype`."""
HALF = 2.0
ENGINE = memory.GIB
"""What a rollout engine takes beside weights and cache: CUDA graphs, buffers."""
LOG_PROBS = 10.0
"""Bytes a logit while log-probs are computed without gradients: 16 bits, a float32 copy, its log-softmax."""


@dataclass(frozen=True, slots=True)
class Role:
    """A model that is trained, on one GPU, in bytes."""

    weights: float
    gradients: float
    optimizer: float
    activations: float
    gathered: float
    """One layer's whole weights, and those fetched ahead."""
    log_probs: float
    trained: int
    stays: float
    """What is on the GPU while other models work."""
    whole_when_training: float
    """Weights, gradients and optimizer while it is trained."""

    @property
    def peak(self) -> float:
        """The most that it takes by itself, overhead aside."""
        training = self.whole_when_training + self.activations + self.gathered
        scoring = self.weights + self.log_probs + self.gathered
        return max(training, scoring)


def of(job: Job) -> MemoryEstimate | None:
    """The estimate for a job; None on a CPU, or when nothing is known of the model."""
    try:
        made = settings.build(job)
        if job.gpus == 0 or made.hardware == "cpu":
            return None
        return _estimate(made.flat, max(1, job.gpus))
    except (TypeError, ValueError, AttributeError):  # a value of the wrong type: the schema check says so
        return None


def _estimate(flat: Mapping[str, Any], gpus: int) -> MemoryEstimate | None:
    def get(name: str) -> Any:
        return tree.resolved(name, flat)

    name = places.named(flat, places.MODEL)
    found = model_shape.of_model(name) if name else None
    if found is None:
        return None
    shape, assumed = found
    nodes = int(get("trainer.nnodes") or 1)
    ranks = int(get("trainer.n_gpus_per_node") or gpus) * nodes
    notes = [assumed] if assumed else []
    actor = _role(get, shape, ACTOR, ranks)
    others = 0.0
    critic = None
    if _has_critic(get):
        value = model_shape.of_model(str(get("critic.model.path") or name)) or found
        critic = _role(get, value[0], CRITIC, ranks)
        others = critic.stays
        notes.append("actor and critic take turns; what is not offloaded of the one stays beside the other")
    peak = actor.peak + others
    if critic is not None:
        peak = max(peak, critic.peak + actor.stays)
    peak += memory.CONTEXT
    needed, words = _with_engine(get, shape, peak, actor.stays + others)
    notes += words
    if get(f"{ACTOR}.use_kl_loss") or get("algorithm.use_kl_in_reward"):
        if int(get(f"{MODEL}.lora_rank") or 0):
            notes.append("the reference is the actor without its adapter")
        else:
            notes.append("the reference is kept in the machine's own memory")
    notes.insert(0, _rows(get))
    parts = (actor.weights, actor.gradients, actor.optimizer, actor.activations)
    return MemoryEstimate(
        weights=int(actor.weights),
        gradients=int(actor.gradients),
        optimizer=int(actor.optimizer),
        activations=int(actor.activations),
        overhead=int(max(0.0, needed - sum(parts))),
        parameters=shape.parameters,
        trainable=actor.trained,
        notes=tuple(notes),
        advice=tuple(_advice(get, actor, critic, ranks)),
    )


def _has_critic(get: Any) -> bool:
    asked = get("critic.enable")
    return asked if isinstance(asked, bool) else get("algorithm.adv_estimator") == "gae"


def _tokens(get: Any, block: str, *, scoring: bool = False) -> tuple[int, int]:
    """(rows, tokens each) that a GPU takes at a time."""
    length = int(get("data.max_prompt_length")) + int(get("data.max_response_length"))
    if scoring:
        dynamic = f"{ROLLOUT}.log_prob_use_dynamic_bsz"
        size, most = (
            f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu",
        )
    else:
        dynamic = f"{block}.use_dynamic_bsz"
        size, most = f"{block}.ppo_micro_batch_size_per_gpu", f"{block}.ppo_max_token_len_per_gpu"
    if get(dynamic):
        return 1, max(length, int(get(most)))
    share = max(1, int(get(f"{ACTOR}.ulysses_sequence_parallel_size") or 1))
    return int(get(size) or 1), -(-length // share)


def _role(get: Any, shape: Shape, block: str, ranks: int) -> Role:
    """A model that is trained."""
    model, engine = (MODEL, f"{ACTOR}.fsdp_config") if block == ACTOR else ("critic.model", "critic.fsdp")
    width = WIDTH.get(str(get(f"{engine}.model_dtype") or "fp32"), 4.0)
    rank = int(get(f"{model}.lora_rank") or 0)
    targets = get(f"{model}.target_modules")
    rows, length = _tokens(get, block)
    training = memory.Training(
        batch=rows,
        length=length,
        gpus=ranks,
        method="lora" if rank else "full",
        half=True,
        sharded_half=True,
        lora_rank=rank or 8,
        lora_targets=("all",) if targets in (None, "all-linear") else tuple(_names(targets)),
        recompute=bool(get(f"{model}.enable_gradient_checkpointing")),
        fused_loss=bool(get(f"{model}.use_fused_kernels")) or block == CRITIC,
    )
    trained = memory.trainable(shape, training)
    shards = int(get(f"{engine}.fsdp_size") or -1)
    shards = ranks if shards < 0 or shards > ranks else max(1, shards)
    weights = shape.parameters * width / shards
    gradients = trained * width / shards
    optimizer = trained * 2 * width / shards
    always_off = bool(get(f"{engine}.offload_policy"))
    if always_off:
        weights, optimizer = 0.0, 0.0
    stays = 0.0 if get(f"{engine}.param_offload") else weights
    stays += 0.0 if get(f"{engine}.optimizer_offload") else optimizer
    gathered = HALF * 2 * shape.layer_parameters
    gathered += HALF * max(shape.embedding_parameters // (1 if shape.tied else 2), 0)
    scored_rows, scored_length = _tokens(get, block, scoring=True)
    logits = 0.0 if training.fused_loss else scored_rows * scored_length * shape.vocabulary * LOG_PROBS
    hidden = scored_rows * scored_length * (shape.hidden * 8.0 + shape.inner * 6.0)
    return Role(
        weights=weights,
        gradients=gradients,
        optimizer=optimizer,
        activations=memory.activations(shape, training),
        gathered=gathered,
        log_probs=logits + hidden if block == ACTOR else 0.0,
        trained=trained,
        stays=stays,
        whole_when_training=weights + gradients + optimizer,
    )


def _names(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def _with_engine(get: Any, shape: Shape, peak: float, stays: float) -> tuple[float, list[str]]:
    """The smallest GPU on which training and rollout both fit, and what was assumed.

    The engine takes its share of the whole GPU, so a GPU of C bytes must hold `stays + share × C`; its
    share must hold the engine's own copy of the weights and the cache of one row.
    """
    if get(f"{ROLLOUT}.name") not in ("vllm", "sglang", "trtllm"):
        whole = shape.parameters * HALF
        return peak + whole, ["the rollout holds a copy of the weights in 16 bits"]
    share = min(0.99, max(0.01, float(get(f"{ROLLOUT}.gpu_memory_utilization"))))
    split = max(1, int(get(f"{ROLLOUT}.tensor_model_parallel_size") or 1))
    length = int(get("data.max_prompt_length")) + int(get("data.max_response_length"))
    cache = HALF * 2 * shape.layers * shape.kv_heads * shape.head * length / min(split, shape.kv_heads)
    engine = shape.parameters * HALF / split + cache + ENGINE
    held = stays + memory.CONTEXT
    training = peak if get(f"{ROLLOUT}.free_cache_engine") else peak / (1 - share)
    needed = max(training, held / (1 - share), engine / share)
    words = (
        f"the rollout engine takes {share:.0%} of a GPU, {engine / memory.GIB:.1f} GiB of it at least, "
        f"beside {held / memory.GIB:.1f} GiB that stay"
    )
    found = [words]
    if needed == engine / share and needed > training:
        found.append("the engine's share is what asks for a GPU of this size")
    elif needed > training:
        found.append("what stays beside the engine is what asks for a GPU of this size")
    return needed, found


def _rows(get: Any) -> str:
    rows, length = _tokens(get, ACTOR)
    if get(f"{ACTOR}.use_dynamic_bsz"):
        return f"{length:,} tokens a GPU at a time"
    words = (
        f"{'1 row' if rows == 1 else f'{rows} rows'} a GPU at a time, each of {length:,} tokens (the limit)"
    )
    packed = rows > 1 and bool(get(f"{MODEL}.use_remove_padding"))
    return f"{words}; rows are packed, so shorter answers take less in proportion" if packed else words


def _advice(get: Any, actor: Role, critic: Role | None, ranks: int) -> list[str]:
    """The keys to change when it does not fit, most useful first."""
    found: list[str] = []
    rows, length = _tokens(get, ACTOR)
    if not get(f"{MODEL}.enable_gradient_checkpointing"):
        found.append(f"verl.{MODEL}.enable_gradient_checkpointing: true")
    if get(f"{ACTOR}.use_dynamic_bsz"):
        row = int(get("data.max_prompt_length")) + int(get("data.max_response_length"))
        if length > row:
            found.append(f"verl.{ACTOR}.ppo_max_token_len_per_gpu: {max(row, length // 2)}")
    elif rows > 1:
        found.append(f"verl.{ACTOR}.ppo_micro_batch_size_per_gpu: 1")
    scored, _ = _tokens(get, ACTOR, scoring=True)
    if scored > 1 and actor.log_probs > actor.activations:
        found.append(f"verl.{ROLLOUT}.log_prob_micro_batch_size_per_gpu: 1")
    if actor.activations > actor.weights and not get(f"{MODEL}.use_fused_kernels"):
        found.append(f"verl.{MODEL}.use_fused_kernels: true")
    for role, engine in ((actor, f"{ACTOR}.fsdp_config"), (critic, "critic.fsdp")):
        if role is not None and role.stays:
            found += [
                f"verl.{engine}.{key}: true"
                for key in ("optimizer_offload", "param_offload")
                if not get(f"{engine}.{key}")
            ]
    share = float(get(f"{ROLLOUT}.gpu_memory_utilization") or 0)
    if share > 0.4:
        found.append(f"verl.{ROLLOUT}.gpu_memory_utilization: 0.4")
    if not get(f"{ACTOR}.fsdp_config.offload_policy") and ranks == 1:
        found.append(f"verl.{ACTOR}.strategy: fsdp2 and verl.{ACTOR}.fsdp_config.offload_policy: true")
    if not get(f"{MODEL}.lora_rank"):
        found.append(f"verl.{MODEL}.lora_rank: 32")
    response = int(get("data.max_response_length"))
    if response > 256:
        found.append(f"verl.data.max_response_length: {response // 2}")
    return found
