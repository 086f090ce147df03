"""residency.recipe.suggest"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.recipe.suggest import closest, did_you_mean, distance

KEYS = [
    "learning_rate", "lora_rank", "lora_alpha", "num_train_epochs", "per_device_train_batch_size",
    "per_device_eval_batch_size", "warmup_ratio", "warmup_steps", "cutoff_len", "model_name_or_path",
    "finetuning_type", "gradient_accumulation_steps", "bf16", "fp16", "do_train", "template",
]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("learning_rte", "learning_rate"),
        ("learningrate", "learning_rate"),
        ("Learning-Rate", "learning_rate"),
        ("rate_learning", "learning_rate"),
        ("lr_rank", "lora_rank"),
        ("lora_rnak", "lora_rank"),
        ("num_epochs", "num_train_epochs"),
        ("per_device_batch_size", "per_device_train_batch_size"),
        ("finetunning_type", "finetuning_type"),
        ("bf61", "bf16"),
        ("warmup", "warmup_ratio"),
    ],
)
def test_finds_what_was_meant(word: str, meant: str) -> None:
    assert closest(word, KEYS) == [meant]


@pytest.mark.parametrize("word", ["xyz", "q", "", "deepspeed_stage", "optimizer"])
def test_says_nothing_when_nothing_is_close(word: str) -> None:
    assert closest(word, KEYS) == []


def test_gives_the_best_first_and_never_the_word_itself() -> None:
    assert closest("warmup_step", ["warmup_ratio", "warmup_steps", "warmup_step"], n=3)[0] == "warmup_steps"
    assert "warmup_step" not in closest("warmup_step", ["warmup_step"])


def test_makes_a_hint() -> None:
    assert did_you_mean("templte", KEYS) == "did you mean `template`?"
    assert did_you_mean("xyz", KEYS) is None


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("abc", "", 3), ("ab", "ba", 1), ("kitten", "sitting", 3), ("ca", "abc", 3)],
)
def test_distance_counts_edits(a: str, b: str, edits: int) -> None:
    assert distance(a, b) == edits


@given(st.text(max_size=12), st.text(max_size=12), st.integers(0, 12))
def test_distance_is_symmetric_and_its_limit_only_cuts_off(a: str, b: str, limit: int) -> None:
    true = distance(a, b)
    assert true == distance(b, a)
    assert (true == 0) == (a == b)
    cut = distance(a, b, limit)
    assert cut == true if true <= limit else cut > limit


def test_between_equals_the_first_letter_and_swapped_letters_count() -> None:
    assert closest("lamma3", ["gemma3", "llama3"]) == ["llama3"]
    assert closest("zero", ["hero", "zeno"]) == ["zeno"]
