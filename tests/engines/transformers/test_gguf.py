from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from residency.engines import hf_folder
from residency.engines.transformers import gguf, gguf_tokenizer, weights
from residency.engines.transformers.gguf_tokenizer import GgufVocabulary
from residency.errors import StageFailed


def byte_vocabulary(pre: str, **more: Any) -> GgufVocabulary:
    """Every byte is a token, and a few pairs merge."""
    from tokenizers import pre_tokenizers

    merges = ["1 2", "3 4", "Ġ t", "Ġt h", "e r"]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens += [merge.replace(" ", "") for merge in merges]
    types = [3, 3, 3] + [1] * (len(tokens) - 3)
    return GgufVocabulary("gpt2", pre, tokens, types, merges, bos=1, eos=2, padding=2, unknown=0, **more)


def pieces(tokenizer: Any, text: str) -> list[str]:
    return list(tokenizer.tokenize(text))


@pytest.mark.parametrize(
    ("pre", "expected"),
    [
        ("gpt-2", ["12", "34", "Ġth", "er"]),
        ("smollm", ["1", "2", "3", "4", "Ġth", "er"]),  # each digit for itself
        ("llama-bpe", ["12", "3", "4", "Ġth", "er"]),  # digits by threes
        ("qwen2", ["1", "2", "3", "4", "Ġth", "er"]),
    ],
)
def test_each_family_splits_its_own_way(pre: str, expected: list[str]) -> None:
    assert pieces(gguf_tokenizer.build(byte_vocabulary(pre)), "1234 ther") == expected


def test_qwen_normalises_and_others_do_not() -> None:
    decomposed = "Gro\u0308\u00dfe"
    for pre, expected in (("qwen2", "Gr\u00f6\u00dfe"), ("smollm", decomposed)):
        tokenizer = gguf_tokenizer.build(byte_vocabulary(pre))
        assert tokenizer.decode(tokenizer(decomposed)["input_ids"]) == expected


def test_start_token_where_the_file_asks_for_it() -> None:
    with_bos = gguf_tokenizer.build(byte_vocabulary("llama-bpe", add_bos=True))
    without = gguf_tokenizer.build(byte_vocabulary("llama-bpe"))
    assert with_bos("x")["input_ids"] == [1, *without("x")["input_ids"]]


def test_special_tokens_stay_whole_and_template_is_kept() -> None:
    tokenizer = gguf_tokenizer.build(byte_vocabulary("smollm", chat_template="{{ messages[0]['content'] }}!"))
    assert tokenizer("<|im_start|>")["input_ids"] == [1]
    said = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert said == "hi!"
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.bos_token_id) == (2, 2, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"pre": "tekken"}, "pre-tokenizer 'tekken'"), ({"model": "llama"}, "only byte-level BPE")],
)
def test_unknown_kinds_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(StageFailed, match=message):
        gguf_tokenizer.build(dataclasses.replace(byte_vocabulary("smollm"), **change))


def test_self_check_sees_lost_bytes() -> None:
    vocab = byte_vocabulary("smollm")
    kept = [i for i, token in enumerate(vocab.tokens) if token != "Ġ"]  # the space is gone
    broken = dataclasses.replace(
        vocab, tokens=[vocab.tokens[i] for i in kept], types=[vocab.types[i] for i in kept], merges=["e r"]
    )
    with pytest.raises(StageFailed, match=r"special token|does not give a text back"):
        gguf_tokenizer.build(broken)


def test_not_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\x03\x04" + bytes(100))
    with pytest.raises(StageFailed, match="not a GGUF file"):
        gguf_tokenizer.read_fields(tmp_path / "x.gguf")


def test_converted_model_computes_the_same(tiny_model: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    about = gguf.convert(tiny_gguf, tmp_path, "float32")
    weights.tidy(tmp_path)
    assert about["general.name"] == "Tiny"
    hf_folder.check_model(tmp_path)
    original, made = (AutoTokenizer.from_pretrained(p) for p in (tiny_model, tmp_path))
    for text in gguf_tokenizer.SAMPLES:
        assert made(text)["input_ids"] == original(text)["input_ids"]
    assert made.chat_template == original.chat_template
    ids = torch.tensor([original("Were the subjects of this study human?")["input_ids"]])
    models = [AutoModelForCausalLM.from_pretrained(p) for p in (tiny_model, tmp_path)]
    with torch.no_grad():
        expected, got = (model(ids).logits for model in models)
    assert torch.allclose(expected, got, atol=1e-5)
    ends = models[1].generation_config
    assert (ends.eos_token_id, ends.pad_token_id, ends.bos_token_id) == (2, 0, 1)
    config = hf_folder.read_json(tmp_path / "tokenizer_config.json")
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
