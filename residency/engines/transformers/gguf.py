"""A llama.cpp GGUF file as an ordinary Hugging Face checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.engines.transformers import gguf_tokenizer
from residency.errors import StageFailed


def convert(path: Path, folder: Path, dtype: str) -> dict[str, Any]:
    """Write the model in the GGUF file `path` into `folder`, in `dtype`.

    Quantised weights are expanded; the precision that quantisation took is not given back.

    Returns:
        What the file says of itself: `general.name`, `general.license`, …, for the model card.

    Raises:
        StageFailed: the file's tokenizer or architecture is not known.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    fields = gguf_tokenizer.read_fields(path)
    vocab = gguf_tokenizer.vocabulary(fields)
    tokenizer = gguf_tokenizer.build(vocab)
    target = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    try:
        model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=target)
    except (ValueError, KeyError, NotImplementedError) as error:
        architecture = fields.get("general.architecture", "unknown")
        raise StageFailed(
            f"transformers cannot read this GGUF file (architecture {architecture}): {error}"
        ) from error
    if model.config.vocab_size != len(tokenizer):
        raise StageFailed(
            f"the model has {model.config.vocab_size:,} tokens and its tokenizer {len(tokenizer):,}; "
            "the GGUF file contradicts itself"
        )
    ends = [i for i in (vocab.eos, vocab.eot) if i is not None]
    model.config.bos_token_id = vocab.bos
    model.config.eos_token_id = vocab.eos
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.architectures = [type(model).__name__]
    model.config._name_or_path = ""
    if hasattr(model.config, "rms_norm_eps"):  # float32 in the file: 9.999999747378752e-06
        model.config.rms_norm_eps = float(f"{model.config.rms_norm_eps:.6g}")
    kind: Any = GenerationConfig
    model.generation_config = kind(
        bos_token_id=vocab.bos,
        eos_token_id=ends[0] if len(ends) == 1 else (ends or None),
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {key: value for key, value in fields.items() if key.startswith("general.")}
