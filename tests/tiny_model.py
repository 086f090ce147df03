"""A tiny random model for tests: real files, made in about a second, fit for every engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

TEMPLATE = (
    "{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = (
    "Were the subjects of this study human? Answer yes or no.",
    "A randomised controlled trial of 120 patients with hypertension and diabetes.",
    "<think>The abstract names patients.</think><answer>yes</answer>",
    "Thirty rats were given 5 mg/kg of the drug; 16 female dogs served as controls. No.",
    "You are a helpful assistant. system user assistant instruction input output",
)


def make_tiny_model(
    folder: Path,
    texts: Iterable[str] = TEXTS,
    *,
    family: Literal["llama", "qwen2"] = "llama",
    vocabulary: int = 512,
    layers: int = 2,
    hidden: int = 64,
    tied: bool = True,
    seed: int = 0,
) -> Path:
    """Write a random model with a ChatML tokenizer trained on `texts` into `folder`; returns `folder`.

    Two heads of size 32 (smaller heads break some engines), float32, at most `vocabulary` tokens.
    """
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
        Qwen2Config,
        Qwen2ForCausalLM,
    )

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in special],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(list(texts), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
    fast.chat_template = TEMPLATE
    shape: dict[str, Any] = {
        "vocab_size": len(fast),
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 32,
        "num_key_value_heads": 1,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": tied,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    torch.manual_seed(seed)
    model: Any
    if family == "llama":
        model = LlamaForCausalLM(LlamaConfig(head_dim=32, **shape))
    else:
        model = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
