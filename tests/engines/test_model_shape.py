from __future__ import annotations

import pytest

from residency.engines import model_shape

# The numbers of parameters that the model cards and the checkpoints' own headers give.
PUBLISHED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_711_376_384,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "meta-llama/Llama-3.3-70B-Instruct": 70_553_706_496,
    "meta-llama/Llama-2-7b-hf": 6_738_415_616,
    "meta-llama/Llama-2-13b-hf": 13_015_864_320,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B-Instruct": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "mistralai/Mistral-7B-v0.1": 7_241_732_096,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_numbers(name: str) -> None:
    found = model_shape.of_model(name)
    assert found is not None
    assert found[0].parameters == PUBLISHED[name]


def test_size_in_the_name() -> None:
    found = model_shape.of_model("someone/Medical-9B-chat")
    assert found is not None
    shape, assumed = found
    assert shape.parameters == 9_000_000_000
    assert assumed is not None
    assert "9B" in assumed


@pytest.mark.parametrize("name", ["someone/model", "gpt-4", "b-8", "./missing"])
def test_unknown(name: str) -> None:
    assert model_shape.of_model(name) is None


def test_config_of_unknown_architecture_is_not_guessed() -> None:
    assert model_shape.from_config({"model_type": "mamba", "hidden_size": 64}) is None


def test_config_of_mixture() -> None:
    # Mixtral-8x7B: 46,702,792,704 parameters.
    shape = model_shape.from_config(
        {
            "model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000, "num_local_experts": 8,
        }
    )  # fmt: skip
    assert shape is not None
    assert shape.parameters == 46_702_792_704
