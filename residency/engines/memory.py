"""How much GPU memory a training takes, by the formulas of the literature.

Model states (weights, gradients, optimizer) and how ZeRO shards them: Rajbhandari et al. 2020,
"ZeRO: Memory Optimizations Toward Training Trillion Parameter Models", arXiv 1910.02054, §3 and §5.
Activations: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer
Models", arXiv 2205.05198, §4. Quantised weights: Dettmers et al. 2023, "QLoRA", arXiv 2305.14314, §3.

An estimate is for planning: a run may differ by a tenth or two (fragmentation, kernels' buffers).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from residency.engines.base import MemoryEstimate
from residency.engines.model_shape import Shape

GIB = 1 << 30
CONTEXT = GIB
"""The CUDA context, NCCL's buffers and the allocator's slack."""
DOUBLE_QUANT_BITS = 0.127
"""Bits a parameter for QLoRA's quantisation constants, themselves quantised (§3, "Double Quantization")."""
SINGLE_QUANT_BITS = 0.5
PREFETCH = 50_000_000
"""Parameters that ZeRO-3 holds gathered beside the layer at work (`stage3_prefetch_bucket_size`)."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a training does, as far as memory goes."""

    batch: int
    """Rows a GPU at a time (twice that for pairs of answers)."""
    length: int
    """Tokens a row, the cut-off."""
    gpus: int = 1
    method: Literal["full", "freeze", "lora"] = "lora"
    half: bool = True
    """bf16 or fp16 mixed precision; False: everything in float32."""
    pure_half: bool = False
    """`pure_bf16`: weights, gradients and optimizer all in 16 bits."""
    stored_bytes: float = 2.0
    """Bytes a parameter in the checkpoint, which frozen weights keep: 2, or 4 for float32."""
    lora_rank: int = 8
    lora_targets: tuple[str, ...] = ("all",)
    frozen_layers_but: int = 2
    """With `freeze`: the layers that are trained."""
    bits: int | None = None
    """Quantisation of frozen weights: 4 or 8."""
    double_quant: bool = True
    optimizer_bytes: float = 8.0
    """Bytes a trained parameter: 8 for Adam's two moments in float32, 2 for 8-bit Adam, 0 for SGD."""
    sharded_half: bool = False
    """FSDP gathers 16-bit copies of its float32 weights for each pass."""
    zero: int = 0
    """The ZeRO stage: 0 to 3."""
    deepspeed: bool = False
    offload_optimizer: bool = False
    offload_weights: bool = False
    recompute: bool = True
    """Gradient checkpointing: only each layer's input is kept (§4.1 of Korthikanti et al.)."""
    flash: bool = True
    """The attention matrix is never stored (FlashAttention or PyTorch's fused kernel)."""
    fused_loss: bool = False
    """Liger's loss: the logits are never stored whole."""
    reference: bool = False
    """A second, frozen model (the reference of a full-parameter DPO)."""


@dataclass(slots=True)
class _States:
    weights: float = 0.0
    gradients: float = 0.0
    optimizer: float = 0.0
    notes: list[str] = field(default_factory=list)


def estimate(shape: Shape, training: Training) -> MemoryEstimate:
    """The memory of the fullest GPU, in bytes."""
    trained = trainable(shape, training)
    states = _states(shape, training, trained)
    overhead = float(CONTEXT)
    if training.zero == 3:
        overhead += 2 * (max(shape.layer_parameters, shape.embedding_parameters // 2) + PREFETCH)
        states.notes.append("ZeRO-3 gathers one layer's weights at a time, in 16 bits")
    rows = "1 row" if training.batch == 1 else f"{training.batch} rows"
    notes = [
        f"{rows} a GPU at a time, each of {training.length:,} tokens (the cut-off)",
        *states.notes,
    ]
    return MemoryEstimate(
        weights=int(states.weights),
        gradients=int(states.gradients),
        optimizer=int(states.optimizer),
        activations=int(activations(shape, training)),
        overhead=int(overhead),
        parameters=shape.parameters,
        trainable=trained,
        notes=tuple(notes),
        advice=tuple(_advice(training)),
    )


def trainable(shape: Shape, training: Training) -> int:
    """The parameters that are trained.

    LoRA adds rank × (inputs + outputs) to each linear module that it targets (Hu et al. 2021,
    arXiv 2106.09685, §4.1).
    """
    if training.method == "full":
        return shape.parameters
    if training.method == "freeze":
        return min(abs(training.frozen_layers_but), shape.layers) * shape.layer_parameters
    modules = shape.linear
    wanted = (
        list(modules)
        if "all" in training.lora_targets
        else [t for t in training.lora_targets if t in modules]
    )
    experts = max(1, shape.experts)
    total = 0
    for name in wanted:
        many = experts if name in ("gate_proj", "up_proj", "down_proj") else 1
        total += many * training.lora_rank * sum(modules[name])
    return shape.layers * total


def _states(shape: Shape, training: Training, trained: int) -> _States:
    """Weights, gradients and optimizer on one GPU.

    Mixed precision with Adam takes 16 bytes a trained parameter (ZeRO paper, §3.1): either 2 + 2
    for weights and gradients in 16 bits and 12 for float32 weights and moments (DeepSpeed), or
    4 + 4 + 8 (PyTorch's autocast, whose weights stay in float32). ZeRO-1 shards the 12, ZeRO-2
    the gradients too, ZeRO-3 everything (§5, figure 1).
    """
    states = _States()
    gpus = max(1, training.gpus)
    frozen = 0 if training.method == "full" else shape.parameters
    if training.method == "freeze":
        frozen -= trained
    if training.pure_half:
        weight, gradient, optimizer = 2.0, 2.0, training.optimizer_bytes / 2
    elif training.half and training.deepspeed:
        weight, gradient, optimizer = 2.0, 2.0, 4.0 + training.optimizer_bytes
    else:
        weight, gradient, optimizer = 4.0, 4.0, training.optimizer_bytes
    states.weights = trained * weight + frozen_bytes(shape, frozen, training)
    states.gradients = trained * gradient
    states.optimizer = trained * optimizer
    if training.reference:
        states.weights += shape.parameters * (2.0 if training.half else 4.0)
        states.notes.append("a frozen reference model stands beside the one that is trained")
    if training.zero == 3:
        states.weights /= gpus
    if training.zero >= 2:
        states.gradients /= gpus
    if training.zero >= 1:
        states.optimizer /= gpus
    if training.zero == 0 and gpus > 1:
        states.gradients *= 2
        states.notes.append("plain data parallelism keeps a second copy of the gradients in its buckets")
    if training.offload_optimizer:
        states.optimizer = 0.0
        states.notes.append("the optimizer is kept in the machine's own memory")
    if training.offload_weights:
        states.weights = 0.0
        states.notes.append("the weights are kept in the machine's own memory")
    return states


def frozen_bytes(shape: Shape, frozen: int, training: Training) -> float:
    """The bytes of the weights that are not trained.

    Quantisation is of the linear modules of the layers; embeddings and output stay in 16 bits.
    """
    if frozen == 0:
        return 0.0
    width = training.stored_bytes if training.half or training.pure_half else 4.0
    if training.bits is None:
        return frozen * width
    outside = min(frozen, shape.embedding_parameters)
    constants = DOUBLE_QUANT_BITS if training.double_quant else SINGLE_QUANT_BITS
    bits = training.bits + (constants if training.bits == 4 else 0.0)
    return outside * 2.0 + (frozen - outside) * bits / 8


def activations(shape: Shape, training: Training) -> float:
    """The bytes kept between the forward and the backward pass on one GPU.

    Korthikanti et al., eq. 1, counts s·b·h·(34 + 5·a·s/h) bytes a layer for GPT with a
    feed-forward block of 4h and dropout; eq. 2 leaves 34 without the attention matrix, which
    FlashAttention never stores. The same count for today's layers (grouped queries, gated block,
    no dropout), 16 bits each unless said:

    - two norms: their input, and its copy in float32: 2 × (2 + 4)·s·b·h
    - attention: its input 2·s·b·h, queries and output 2 × 2·s·b·a·d, keys and values 2 × 2·s·b·k·d;
      without flash also scores and their softmax, 2 + 4 bytes each of a·s²·b
    - block: its input 2·s·b·h, gate, up, activation and product 4 × 2·s·b·f (without a gate 2 × 2·s·b·f)

    With recomputation only each layer's input, 2·s·b·h, is kept, and one layer whole while its
    backward pass runs. Where the weights are float32 under autocast, the layers hand on float32, and
    that input has 4·s·b·h. LoRA keeps a copy of the input of each module that it adapts, and makes one in
    float32 on the way (seen in PyTorch's allocator with PEFT 0.18). The logits come on top: 16 bits,
    a float32 copy, its log-softmax and its gradient, 14 bytes of s·b·V.
    """
    tokens = float(training.length * training.batch)
    width = 1.0 if training.half or training.pure_half else 2.0  # against 16 bits
    queries, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    layer = tokens * shape.hidden * (2 * (2 * width + 4) + 2 * width + 2 * width)
    layer += tokens * width * (4 * queries + 4 * keys)
    layer += tokens * width * (8 if shape.gated else 4) * shape.inner
    if not training.flash:
        layer += (2 * width + 4) * shape.heads * training.length * tokens
    if training.method == "lora":
        inputs = [i for name, (i, _) in shape.linear.items() if _adapted(training, name)]
        layer += tokens * (2 * width * sum(inputs) + 4 * max(inputs, default=0))
    kept = (
        shape.layers * tokens * _handed_on(training) * shape.hidden + layer
        if training.recompute
        else shape.layers * layer
    )
    logits = 0.0 if training.fused_loss else tokens * shape.vocabulary * (2 * width + 12)
    return kept + logits


def _adapted(training: Training, module: str) -> bool:
    return "all" in training.lora_targets or module in training.lora_targets


def _handed_on(training: Training) -> float:
    """Bytes a number of what one layer hands to the next: as wide as the embedding's weights."""
    if training.pure_half:
        return 2.0
    if not training.half:
        return 4.0
    if training.method == "full":
        return 2.0 if training.deepspeed or training.sharded_half else 4.0
    return training.stored_bytes


def _advice(training: Training) -> list[str]:
    """The keys to change when it does not fit, most useful first."""
    found = []
    if not training.recompute:
        found.append("llamafactory.disable_gradient_checkpointing: false")
    if training.batch > 1:
        found.append("llamafactory.per_device_train_batch_size: 1 (and gradient_accumulation_steps higher)")
    if training.gpus > 1 and training.zero < 3:
        found.append("llamafactory.deepspeed: zero3")
    if training.method == "full" and training.gpus > 1 and not training.offload_optimizer:
        found.append("llamafactory.deepspeed: zero3_offload")
    if not training.flash:
        found.append("llamafactory.flash_attn: sdpa")
    if training.length > 1024:
        found.append(f"llamafactory.cutoff_len: {training.length // 2}")
    if not training.fused_loss and training.length >= 1024:
        found.append("llamafactory.enable_liger_kernel: true")
    if training.method == "full":
        found.append("llamafactory.finetuning_type: lora")
    elif training.bits is None and training.zero != 3:
        found.append("llamafactory.quantization_bit: 4")
    return found
