from __future__ import annotations

from dataclasses import replace

import pytest

from residency.engines import memory
from residency.engines.memory import GIB, Training
from residency.engines.model_shape import Shape, of_model


def shape(name: str) -> Shape:
    found = of_model(name)
    assert found is not None
    return found[0]


LLAMA = shape("meta-llama/Llama-3.1-8B-Instruct")
FULL = Training(batch=1, length=2048, method="full")
LORA = Training(batch=1, length=2048, method="lora")


@pytest.mark.parametrize("deepspeed", [False, True])
@pytest.mark.parametrize("half", [False, True])
def test_sixteen_bytes_a_parameter(deepspeed: bool, half: bool) -> None:
    # ZeRO paper, §3.1: K = 12, so 2 + 2 + 12 with Adam in mixed precision; 4 + 4 + 8 in float32.
    made = memory.estimate(LLAMA, replace(FULL, deepspeed=deepspeed, half=half))
    assert made.weights + made.gradients + made.optimizer == 16 * LLAMA.parameters
    assert made.trainable == made.parameters == 8_030_261_248


@pytest.mark.parametrize(("zero", "gigabytes"), [(0, 120.0), (1, 31.4), (2, 16.6), (3, 1.9)])
def test_figure_1_of_the_zero_paper(zero: int, gigabytes: float) -> None:
    # 7.5 billion parameters on 64 GPUs, K = 12: the paper's own numbers (10⁹ bytes).
    model = replace(LLAMA, stated=7_500_000_000)
    made = memory.estimate(model, replace(FULL, zero=zero, deepspeed=True, gpus=64))
    gradients = made.gradients / 2 if zero == 0 else made.gradients  # less the buckets of plain DDP
    assert (made.weights + gradients + made.optimizer) / 1e9 == pytest.approx(gigabytes, abs=0.05)


def test_pure_bf16_takes_half() -> None:
    made = memory.estimate(LLAMA, replace(FULL, pure_half=True))
    assert made.weights + made.gradients + made.optimizer == 8 * LLAMA.parameters


def test_lora_parameters() -> None:
    # Rank 8 on all seven linear modules of Llama-3.1-8B: 20,971,520, as PEFT prints it.
    assert memory.trainable(LLAMA, LORA) == 20_971_520
    # On SmolLM2-135M: what an adapter's file holds.
    assert memory.trainable(shape("SmolLM2-135M"), LORA) == 2_442_240
    # The query and value projections alone: 3,407,872.
    assert memory.trainable(LLAMA, replace(LORA, lora_targets=("q_proj", "v_proj"))) == 3_407_872


def test_freeze() -> None:
    made = memory.estimate(LLAMA, replace(FULL, method="freeze", frozen_layers_but=2))
    assert made.trainable == 2 * LLAMA.layer_parameters
    assert made.weights == 2 * (LLAMA.parameters - made.trainable) + 4 * made.trainable


def test_quantised_weights() -> None:
    whole = memory.estimate(LLAMA, LORA).weights
    eight = memory.estimate(LLAMA, replace(LORA, bits=8)).weights
    four = memory.estimate(LLAMA, replace(LORA, bits=4)).weights
    assert whole > eight > four
    inside = LLAMA.parameters - LLAMA.embedding_parameters
    trained = 4 * memory.trainable(LLAMA, LORA)
    assert four - trained == pytest.approx(2 * LLAMA.embedding_parameters + inside * 4.127 / 8, rel=1e-6)
    # The weights of an 8B model in NF4 are known to take 5.2 to 5.8 GiB with 16-bit embeddings.
    assert 5.2 * GIB < four < 5.8 * GIB


def test_offload() -> None:
    made = memory.estimate(
        LLAMA, replace(FULL, zero=3, deepspeed=True, gpus=4, offload_optimizer=True, offload_weights=True)
    )
    assert made.optimizer == made.weights == 0
    assert made.gradients == 2 * LLAMA.parameters / 4


def test_recomputation_keeps_one_input_a_layer() -> None:
    # Korthikanti et al., §4.1: 2·s·b·h a layer, beside the layer that is being recomputed and the logits.
    kept = replace(LORA, fused_loss=True)
    few, many = replace(LLAMA, layers=1), replace(LLAMA, layers=33)
    assert memory.activations(many, kept) - memory.activations(few, kept) == 32 * 2 * 2048 * 4096


def test_attention_matrix_only_without_flash() -> None:
    kept = replace(LORA, fused_loss=True)
    one = replace(LLAMA, layers=1)
    more = memory.activations(one, replace(kept, flash=False)) - memory.activations(one, kept)
    assert more == 6 * 32 * 2048 * 2048


def test_equation_2_for_its_own_architecture() -> None:
    # GPT-3's layer: block of 4h, no gate, all heads. Eq. 2 says 34·s·b·h. Of that 2 are masks of dropout,
    # and here each of the two norms has a float32 copy of its input: 34 - 2 + 2 × 4 = 40.
    gpt = Shape(
        layers=1, hidden=12288, heads=96, kv_heads=96, head=128, inner=49152, vocabulary=0, gated=False
    )
    made = memory.activations(gpt, Training(batch=1, length=2048, recompute=False, method="full"))
    assert made / (2048 * 12288) == 40


def test_twice_the_rows_twice_the_activations() -> None:
    assert memory.activations(LLAMA, replace(LORA, batch=2)) == 2 * memory.activations(LLAMA, LORA)


def test_advice_is_about_what_is_set() -> None:
    said = memory.estimate(LLAMA, replace(FULL, batch=4, recompute=False)).advice
    assert said[0] == "llamafactory.disable_gradient_checkpointing: false"
    assert any(item.startswith("llamafactory.per_device_train_batch_size: 1") for item in said)
    assert "llamafactory.finetuning_type: lora" in said
    said = memory.estimate(LLAMA, replace(LORA, length=512, bits=4)).advice
    assert said == ()


# The hardware table of LLaMA-Factory's README (in the metadata of llamafactory 0.9.5, "Hardware
# Requirement"), in GB of all GPUs together. It names no batch and no length: one row of 512 tokens here.
TABLE = {
    "meta-llama/Llama-2-7b-hf": {"full": 120, "pure": 60, "lora": 16, "lora 8": 10, "lora 4": 6},
    "Qwen/Qwen2.5-14B-Instruct": {"full": 240, "pure": 120, "lora": 32, "lora 8": 20, "lora 4": 12},
    "meta-llama/Llama-3.1-70B-Instruct": {
        "full": 1200, "pure": 600, "lora": 160, "lora 8": 80, "lora 4": 48,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("model", "method", "gigabytes"),
    [(model, method, size) for model, row in TABLE.items() for method, size in row.items()],
)
def test_llamafactorys_own_table(model: str, method: str, gigabytes: float) -> None:
    trained = "full" if method in ("full", "pure") else "lora"
    made = memory.estimate(
        shape(model),
        Training(
            batch=1,
            length=512,
            method=trained,  # type: ignore[arg-type]
            pure_half=method == "pure",
            bits=int(method[5:]) if method.startswith("lora ") else None,
        ),
    )
    assert made.total / 1e9 == pytest.approx(gigabytes, rel=0.12)


def test_llama_8b_full_on_four_gpus() -> None:
    """The same table's rule for full fine-tuning, 18 bytes a parameter, over four GPUs by ZeRO-3."""
    made = memory.estimate(LLAMA, replace(FULL, length=512, zero=3, deepspeed=True, gpus=4))
    assert made.total == pytest.approx(18 * LLAMA.parameters / 4, rel=0.05)
    assert made.total < 80e9
    # With ZeRO-2 the 16-bit weights stay whole: 2 + 14 / 4 bytes a parameter.
    zero2 = memory.estimate(LLAMA, replace(FULL, length=512, zero=2, deepspeed=True, gpus=4))
    states = zero2.weights + zero2.gradients + zero2.optimizer
    assert states == pytest.approx(5.5 * LLAMA.parameters, rel=1e-6)


def test_lora_on_float32_weights_as_seen_on_a_gpu() -> None:
    """PyTorch's peak on an H200 (LLaMA-Factory 0.9.5, PEFT 0.18, rank 8): 1,379,010,048 bytes."""
    model = Shape(20, 768, 24, 1, 32, 1536, 512, tied=True)
    made = memory.estimate(model, Training(batch=8, length=1024, stored_bytes=4.0))
    assert (made.total - made.overhead) / 1_379_010_048 == pytest.approx(1, abs=0.1)
    # A checkpoint in 16 bits keeps its frozen weights and hands on half as much.
    half = memory.estimate(model, Training(batch=8, length=1024))
    assert half.weights < 0.6 * made.weights
    assert half.activations < made.activations
