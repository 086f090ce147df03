"""The GPU memory of a LLaMA-Factory training, from its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from residency.engines import memory, model_shape
from residency.engines.base import Job, MemoryEstimate
from residency.engines.llamafactory import places, settings
from residency.errors import RecipeInvalid

# Optimizer states in bytes a trained parameter, by the start of `optim`; Adam in float32 else.
OPTIMIZERS = (
    ("adamw_bnb_8bit", 2.0),
    ("adamw_8bit", 2.0),
    ("paged_adamw_8bit", 2.0),
    ("ademamix_8bit", 3.0),
    ("lion_8bit", 1.0),
    ("paged_lion_8bit", 1.0),
    ("lion", 4.0),
    ("paged_lion", 4.0),
    ("sgd", 0.0),
    ("adafactor", 0.02),
)
PAIRS = frozenset({"dpo", "rm"})
"""Stages whose rows hold two answers."""


def of(job: Job) -> MemoryEstimate | None:
    """The estimate for a job; None on a CPU, or when nothing is known of the model."""
    given = places.block(job.config)
    name = given.get("model_name_or_path")
    if job.gpus == 0 or not isinstance(name, str):
        return None
    starts = places.roots(job.config, job.recipe_folder, job.project)
    found = model_shape.of_model(places.absolute(name, starts))
    if found is None:
        return None
    shape, assumed = found
    try:
        made = memory.estimate(shape, training(job, given, places.absolute(name, starts)))
    except (TypeError, ValueError):  # a value of the wrong type: the schema check says so
        return None
    if assumed is None:
        return made
    return MemoryEstimate(
        made.weights,
        made.gradients,
        made.optimizer,
        made.activations,
        made.overhead,
        made.parameters,
        made.trainable,
        (assumed, *made.notes),
        made.advice,
    )


def training(job: Job, given: Mapping[str, Any], model: str) -> memory.Training:
    """The keys that bear on memory, with LLaMA-Factory's defaults.

    LLaMA-Factory loads a checkpoint in its own precision and makes what it trains float32.
    """
    method = str(given.get("finetuning_type", "lora"))
    stage = str(given.get("stage", "sft"))
    optim = str(given.get("optim", "adamw_torch"))
    zero, deepspeed, optimizer_off, weights_off = _sharding(job, given)
    pure = bool(given.get("pure_bf16"))
    attention = str(given.get("flash_attn", "auto"))
    return memory.Training(
        batch=int(given.get("per_device_train_batch_size", 8)) * (2 if stage in PAIRS else 1),
        length=int(given.get("cutoff_len", 2048)),
        gpus=settings.processes(job),
        method="full" if method == "full" else "freeze" if method == "freeze" else "lora",
        half=bool(given.get("bf16") or given.get("fp16") or pure),
        pure_half=pure,
        stored_bytes=model_shape.stored_bytes(model),
        sharded_half=bool(given.get("fsdp")),
        lora_rank=int(given.get("lora_rank", 8)),
        lora_targets=tuple(places.names(given.get("lora_target", "all"))),
        frozen_layers_but=int(given.get("freeze_trainable_layers", 2)),
        bits=given.get("quantization_bit"),
        double_quant=bool(given.get("double_quantization", True)),
        optimizer_bytes=next((size for name, size in OPTIMIZERS if optim.startswith(name)), 8.0),
        zero=zero,
        deepspeed=deepspeed,
        offload_optimizer=optimizer_off,
        offload_weights=weights_off,
        recompute=not given.get("disable_gradient_checkpointing", False),
        flash=attention not in ("disabled", "off"),
        fused_loss=bool(given.get("enable_liger_kernel")),
        reference=stage in ("dpo", "kto") and (method == "full" or bool(given.get("ref_model"))),
    )


def _sharding(job: Job, given: Mapping[str, Any]) -> tuple[int, bool, bool, bool]:
    """ZeRO's stage, whether DeepSpeed does it, and whether optimizer and weights are offloaded."""
    if given.get("deepspeed"):
        try:
            written = settings.build(job).files.get("deepspeed.json", "{}")
        except RecipeInvalid:
            return 0, True, False, False
        zero = json.loads(written).get("zero_optimization") or {}
        off = {
            part: (zero.get(f"offload_{part}") or {}).get("device", "none") != "none"
            for part in ("optimizer", "param")
        }
        return int(zero.get("stage", 0)), True, off["optimizer"], off["param"]
    fsdp = str(given.get("fsdp") or "")
    if "full_shard" in fsdp:
        return 3, False, "offload" in fsdp, "offload" in fsdp
    return (2, False, False, False) if "shard_grad_op" in fsdp else (0, False, False, False)
