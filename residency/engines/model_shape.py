"""The shape of a decoder-only language model, and the number of its parameters.

From a local config.json exactly; for a hub name from the published shapes of known families,
or, failing that, from the size that the name tells ("8B").
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """The lengths from which parameters and activations are counted."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head: int
    """The length of one head."""
    inner: int
    """The length inside the feed-forward block (of one expert, for a mixture of experts)."""
    vocabulary: int
    tied: bool = False
    """The output matrix is the embedding matrix."""
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False
    """Queries and keys are normalised (Qwen 3, Gemma 3): two vectors of one head's length a layer."""
    norms: int = 2
    """Norm vectors a layer."""
    gated: bool = True
    """The feed-forward block has a gate: three matrices, not two."""
    experts: int = 0
    shared_inner: int = 0
    """The inner length of the experts that always take part, together."""
    stated: int | None = None
    """The number of parameters where only that is known; the lengths are then a like model's."""

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The linear modules of one layer with their inputs and outputs, as LoRA targets them."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        found = {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }
        if self.gated:
            found["gate_proj"] = (self.hidden, self.inner)
        return found

    @property
    def layer_parameters(self) -> int:
        """The parameters of one layer."""
        queries, keys = self.heads * self.head, self.kv_heads * self.head
        attention = self.hidden * (queries + 2 * keys) + queries * self.hidden
        attention += (queries + 2 * keys if self.qkv_bias else 0) + (self.hidden if self.output_bias else 0)
        matrices = 3 if self.gated else 2
        block = matrices * self.hidden * self.inner
        block += (self.inner * (matrices - 1) + self.hidden) if self.mlp_bias else 0
        if self.experts:
            block = self.experts * block + self.hidden * self.experts  # and the router
            if self.shared_inner:
                block += matrices * self.hidden * self.shared_inner
        return attention + block + self.norms * self.hidden + (2 * self.head if self.head_norms else 0)

    @property
    def embedding_parameters(self) -> int:
        """The parameters of the embedding and, where it is its own, of the output matrix."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        """All parameters."""
        if self.stated is not None:
            return self.stated
        return self.layers * self.layer_parameters + self.embedding_parameters + self.hidden


# model_type → what differs from Llama. A type that is not here is not counted from its config.json.
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "smollm3": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"head_norms": True},
    "mixtral": {},
    "qwen3_moe": {"head_norms": True},
    "gemma": {"tied": True},
    "gemma2": {"tied": True, "norms": 4},
    "gemma3_text": {"tied": True, "norms": 4, "head_norms": True},
}


def from_config(config: Mapping[str, Any]) -> Shape | None:
    """The shape that a config.json states, or None for an architecture that is not known here."""
    if isinstance(config.get("text_config"), Mapping):
        config = config["text_config"]
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return None
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        experts = int(config.get("num_experts") or config.get("num_local_experts") or 0)
        inner = (config.get("moe_intermediate_size") if experts else None) or config["intermediate_size"]
        bias = bool(config.get("attention_bias", False))
        shape = Shape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head=int(config.get("head_dim") or hidden // heads),
            inner=int(inner),
            vocabulary=int(config["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", False)),
            qkv_bias=bias,
            output_bias=bias,
            mlp_bias=bool(config.get("mlp_bias", False)),
            experts=experts,
        )
    except (KeyError, TypeError, ValueError):
        return None
    return replace(shape, **family)


def _llama(layers: int, hidden: int, heads: int, kv: int, inner: int, vocab: int, **more: Any) -> Shape:
    return Shape(layers, hidden, heads, kv, more.pop("head", hidden // heads), inner, vocab, **more)


def _qwen2(layers: int, hidden: int, heads: int, kv: int, inner: int, vocab: int, **more: Any) -> Shape:
    return _llama(layers, hidden, heads, kv, inner, vocab, qkv_bias=True, **more)


def _qwen3(layers: int, hidden: int, heads: int, kv: int, inner: int, **more: Any) -> Shape:
    return _llama(layers, hidden, heads, kv, inner, 151936, head=128, head_norms=True, **more)


# A pattern of the hub name → the shape in the family's published config.json.
KNOWN: tuple[tuple[str, Shape], ...] = (
    (r"smollm2?-135m", _llama(30, 576, 9, 3, 1536, 49152, tied=True)),
    (r"smollm2?-360m", _llama(32, 960, 15, 5, 2560, 49152, tied=True)),
    (r"smollm2?-1\.7b", _llama(24, 2048, 32, 32, 8192, 49152, tied=True)),
    (r"llama-3\.2-1b", _llama(16, 2048, 32, 8, 8192, 128256, tied=True)),
    (r"llama-3\.2-3b", _llama(28, 3072, 24, 8, 8192, 128256, tied=True)),
    (r"llama-3(\.\d)?-70b", _llama(80, 8192, 64, 8, 28672, 128256)),
    (r"llama-?3(\.\d)?-8b|huatuogpt-o1-8b", _llama(32, 4096, 32, 8, 14336, 128256)),
    (r"llama-2-7b", _llama(32, 4096, 32, 32, 11008, 32000)),
    (r"llama-2-13b", _llama(40, 5120, 40, 40, 13824, 32000)),
    (r"llama-2-70b", _llama(80, 8192, 64, 8, 28672, 32000)),
    (r"qwen2(\.5)?-0\.5b", _qwen2(24, 896, 14, 2, 4864, 151936, tied=True)),
    (r"qwen2(\.5)?-1\.5b", _qwen2(28, 1536, 12, 2, 8960, 151936, tied=True)),
    (r"qwen2\.5-3b", _qwen2(36, 2048, 16, 2, 11008, 151936, tied=True)),
    (r"qwen2(\.5)?-7b|huatuogpt-o1-7b", _qwen2(28, 3584, 28, 4, 18944, 152064)),
    (r"qwen2\.5-14b", _qwen2(48, 5120, 40, 8, 13824, 152064)),
    (r"qwen2\.5-32b", _qwen2(64, 5120, 40, 8, 27648, 152064)),
    (r"qwen2(\.5)?-72b|huatuogpt-o1-72b", _qwen2(80, 8192, 64, 8, 29568, 152064)),
    (r"qwen3-0\.6b", _qwen3(28, 1024, 16, 8, 3072, tied=True)),
    (r"qwen3-1\.7b", _qwen3(28, 2048, 16, 8, 6144, tied=True)),
    (r"qwen3-4b", _qwen3(36, 2560, 32, 8, 9728, tied=True)),
    (r"qwen3-8b", _qwen3(36, 4096, 32, 8, 12288)),
    (r"qwen3-14b", _qwen3(40, 5120, 40, 8, 17408)),
    (r"qwen3-32b", _qwen3(64, 5120, 64, 8, 25600)),
    (r"mistral-7b[^/]*v0\.3", _llama(32, 4096, 32, 8, 14336, 32768)),
    (r"mistral-7b|biomistral-7b", _llama(32, 4096, 32, 8, 14336, 32000)),
)
SIZE = re.compile(r"(?:^|[-_/])(\d+(?:\.\d+)?)([bm])(?=$|[-_/.])", re.IGNORECASE)


def of_model(name: str) -> tuple[Shape, str | None] | None:
    """The shape of a model and what was assumed, or None when nothing is known of it.

    Args:
        name: The path of a local folder with a config.json, or a hub name.
    """
    config = Path(name) / "config.json"
    if config.is_file():
        try:
            shape = from_config(json.loads(config.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
        return (shape, None) if shape else None
    for pattern, shape in KNOWN:
        if re.search(pattern, name, re.IGNORECASE):
            return shape, f"{name}: its published shape"
    said = SIZE.findall(name)
    if not said:
        return None
    number, unit = said[-1]
    stated = int(float(number) * (1e9 if unit.lower() == "b" else 1e6))
    like = min((s for _, s in KNOWN), key=lambda s: abs(math.log(s.parameters / stated)))
    return replace(like, stated=stated), f"{name}: {number}{unit.upper()} parameters, as its name says"


def stored_bytes(name: str) -> float:
    """Bytes a parameter in a checkpoint: 4 where config.json says float32, else 2, as published models have.

    Args:
        name: The path of a local folder with a config.json, or a hub name.
    """
    try:
        config = json.loads((Path(name) / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 2.0
    said = config.get("dtype") or config.get("torch_dtype") if isinstance(config, dict) else None
    return 4.0 if said == "float32" else 2.0
