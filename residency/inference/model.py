"""A causal language model that is made ready to generate."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from residency.errors import Missing, RecipeInvalid
from residency.inference import attention
from residency.machine import memory

_KINDS = frozenset(("full_attention", "sliding_attention"))
_SHARE = {"cpu": 0.3, "cuda": 0.6}
"""How much of the memory that is free once the model is loaded its cache may take. Rows are made more by
doubling, and copied then."""
ANOTHER = "another engine serves it: `engine: vllm`"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model and what its server must know of it."""

    model: Any
    tokenizer: Any
    context: int
    """Tokens of prompt and answer at most."""
    stop_ids: frozenset[int]
    """Its end-of-sequence tokens."""
    cached: int
    """Tokens, over all rows, that there is memory for."""


def load(
    name: str,
    *,
    adapter: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    max_model_len: int | None = None,
) -> Loaded:
    """Load a model.

    Args:
        name: A folder, or a name on the hub.
        adapter: A LoRA adapter that is merged into it.
        dtype: float32, bfloat16, float16, or `auto`: bfloat16 where the hardware multiplies it.
        device: cpu, cuda, cuda:1, or `auto`.
        max_model_len: Bounds the context; None: the model's own.

    Raises:
        Missing: there is no such model, or no GPU.
        RecipeInvalid: it is no model that this server can run.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    where = _device(device)
    _look(name)
    try:
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        _check(name, config)
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, config=config, dtype=_dtype(dtype, where), attn_implementation="sdpa"
        )
    except OSError as error:
        first = str(error).strip().split("\n")[0]
        raise Missing(
            f"the model {name} cannot be loaded: {first}", "give a model's folder or hub name"
        ) from None
    except ValueError as error:
        raise RecipeInvalid(f"the model {name} cannot be served: {str(error).strip()}", ANOTHER) from None
    if getattr(model, "_is_stateful", False):
        raise RecipeInvalid(f"the model {name} keeps a state of its own beside keys and values", ANOTHER)
    if adapter:
        model = _merged(model, adapter)
    model = model.to(where).eval().requires_grad_(False)
    model.set_attn_implementation(attention.register())
    gc.collect()
    text = config.get_text_config()
    own = getattr(text, "max_position_embeddings", None) or 1 << 20
    if max_model_len and max_model_len > own:
        raise RecipeInvalid(f"max_model_len is {max_model_len:,}, and the model's context {own:,}")
    context = min(own, max_model_len or own)
    return Loaded(model, tokenizer, context, _stops(model, tokenizer), max(context, _room(model, text)))


def _look(name: str) -> None:
    """Say what is wrong with a folder before transformers guesses."""
    folder = Path(name)
    if not folder.is_absolute():
        return
    if not folder.is_dir():
        raise Missing(f"there is no model {name}", "give the folder that a training left, or a hub name")
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise RecipeInvalid(
            f"{name} is an adapter, not a model", "give the base as `model` and it as `adapter`"
        )
    if not (folder / "config.json").is_file():
        raise Missing(f"{name} is no model: it holds no config.json")


def _check(name: str, config: Any) -> None:
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    if config.is_encoder_decoder or kinds - _KINDS:
        what = ", ".join(sorted(kinds - _KINDS)) or "an encoder"
        raise RecipeInvalid(f"the model {name} has layers that this server does not know: {what}", ANOTHER)


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise Missing("no GPU is seen", "set device: cpu")
    return wanted


def _dtype(wanted: str, device: str) -> torch.dtype:
    if wanted != "auto":
        found = getattr(torch, wanted)
        assert isinstance(found, torch.dtype)
        return found
    if device.startswith("cuda"):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


def multiplies_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def _merged(model: Any, adapter: str) -> Any:
    from peft import PeftModel

    if Path(adapter).is_absolute() and not (Path(adapter) / "adapter_config.json").is_file():
        raise Missing(f"{adapter} is no adapter: it holds no adapter_config.json")
    try:
        return PeftModel.from_pretrained(model, adapter).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise RecipeInvalid(f"the adapter {adapter} does not fit the model: {first}") from None


def _stops(model: Any, tokenizer: Any) -> frozenset[int]:
    ends: set[Any] = {tokenizer.eos_token_id}
    for source in (model.generation_config, model.config.get_text_config()):
        found = getattr(source, "eos_token_id", None)
        ends |= set(found if isinstance(found, list | tuple) else [found])
    return frozenset(int(one) for one in ends if one is not None)


def _room(model: Any, config: Any) -> int:
    """Tokens whose keys and values fit into a share of the free memory."""
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = model.dtype.itemsize
    each = 2 * config.num_hidden_layers * heads * size * width
    return int(_free(model.device) * _SHARE[model.device.type] / each)


def _free(device: torch.device) -> int:
    """Bytes that are free where the model is."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = memory()
    return found.free if found else 4 << 30
