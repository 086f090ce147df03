from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from training_case import tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory.engine import ENGINE

HUB = Path("meta-llama/Llama-3.1-8B-Instruct")


def test_nothing_on_a_cpu(make_job: Callable[..., Job]) -> None:
    assert ENGINE.estimate(make_job(tiny_block(HUB))) is None


def test_nothing_for_an_unknown_model(make_job: Callable[..., Job]) -> None:
    assert ENGINE.estimate(make_job(tiny_block(Path("someone/something")), gpus=1)) is None


def test_from_a_local_config(make_job: Callable[..., Job], project: Path) -> None:
    (project / "m").mkdir()
    (project / "m" / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
                "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
                "tie_word_embeddings": True,
            }
        )
    )  # fmt: skip
    made = ENGINE.estimate(make_job(tiny_block(Path("m"), finetuning_type="full"), gpus=1))
    assert made is not None
    assert made.parameters == made.trainable == 134_515_008


def test_deepspeed_is_read(make_job: Callable[..., Job], project: Path) -> None:
    zero = {"stage": 3, "offload_optimizer": {"device": "cpu"}}
    (project / "ds.json").write_text(json.dumps({"zero_optimization": zero}))
    block = tiny_block(HUB, finetuning_type="full", bf16=True)
    sharded = ENGINE.estimate(make_job({**block, "deepspeed": "ds.json"}, gpus=4))
    whole = ENGINE.estimate(make_job(block, gpus=4))
    assert sharded is not None
    assert whole is not None
    assert sharded.optimizer == 0
    assert sharded.weights == 2 * 8_030_261_248 // 4
    assert whole.weights == 4 * 8_030_261_248
    assert sharded.notes[0].startswith("meta-llama/Llama-3.1-8B-Instruct: ")


def test_pairs_of_answers_count_twice(make_job: Callable[..., Job]) -> None:
    sft = ENGINE.estimate(make_job(tiny_block(HUB), gpus=1))
    dpo = ENGINE.estimate(make_job(tiny_block(HUB, stage="dpo"), gpus=1))
    assert sft is not None
    assert dpo is not None
    assert dpo.activations == 2 * sft.activations


def test_a_value_of_the_wrong_type_is_left_to_the_check(make_job: Callable[..., Job]) -> None:
    assert ENGINE.estimate(make_job(tiny_block(HUB, cutoff_len="long"), gpus=1)) is None


@pytest.mark.parametrize(
    ("name", "weights", "gradients", "optimizer"),
    [
        ("zero0", 2, 4, 12),
        ("zero2", 2, 0.5, 3),
        ("zero2_offload", 2, 0.5, 0),
        ("zero3", 0.5, 0.5, 3),
        ("zero3_offload", 0, 0.5, 0),
    ],
)
def test_configurations_by_name(
    make_job: Callable[..., Job], name: str, weights: float, gradients: float, optimizer: float
) -> None:
    """Bytes a parameter on each of 4 GPUs; without ZeRO the buckets of data parallelism come on top."""
    block = tiny_block(HUB, finetuning_type="full", bf16=True, deepspeed=name)
    made = ENGINE.estimate(make_job(block, gpus=4))
    assert made is not None
    found = [value / made.parameters for value in (made.weights, made.gradients, made.optimizer)]
    assert found == pytest.approx([weights, gradients, optimizer], abs=1e-6)
