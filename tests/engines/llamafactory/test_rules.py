"""LLaMA-Factory's rules across keys: each broken one is said once, at its line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rule_cases import BASE, CASES, GOOD, Case

from residency.engines.base import CheckContext
from residency.engines.llamafactory import rules, rules_deepspeed
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.load import load


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two datasets, models, an output folder in use and one that is not."""
    (tmp_path / "dataset_info.json").write_text(
        json.dumps(
            {
                "toy": {"file_name": "toy.jsonl"},
                "pairs": {
                    "file_name": "pairs.jsonl",
                    "ranking": True,
                    "columns": {"prompt": "instruction", "chosen": "chosen", "rejected": "rejected"},
                },
            }
        )
    )
    (tmp_path / "toy.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    (tmp_path / "pairs.jsonl").write_text('{"instruction": "a", "chosen": "b", "rejected": "c"}\n')
    model, adapter = tmp_path / "folder" / "model", tmp_path / "folder" / "adapter"
    model.mkdir(parents=True)
    adapter.mkdir()
    (model / "config.json").write_text('{"max_position_embeddings": 2048}')
    (adapter / "adapter_config.json").write_text("{}")
    (tmp_path / "tied").mkdir()
    (tmp_path / "tied" / "config.json").write_text('{"tie_word_embeddings": true}')
    (tmp_path / "folder" / "model.gguf").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "model.safetensors").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "dataset_info.json").write_text('{"mine": {"file_name": "../toy.jsonl"}}')
    return tmp_path


BLOCK = "llamafactory:\n  model_name_or_path: o/m\n  template: llama3\n"

Check = Callable[..., list[Diagnostic]]


def written(text: str) -> str:
    given = yaml.safe_load(text) or {}
    lines = yaml.safe_dump({k: v for k, v in BASE.items() if k not in given}, sort_keys=False)
    return lines + text + "\n"


@pytest.fixture
def check(place: Path) -> Check:
    def run(
        text: str, *, gpus: int = 0, recipe: str | None = None, trust: tuple[str, ...] = ()
    ) -> list[Diagnostic]:
        path = place / "train.yaml"
        path.write_text(recipe or written(text))
        loaded, found = load(path, cwd=place)
        assert loaded is not None
        assert found.ok, [d.message for d in found]
        found = Diagnostics()
        rules.check(loaded, CheckContext(project=place, cwd=place, gpus=gpus, trust=trust), found)
        return list(found)

    return run


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.text.replace("\n", "; "))
def test_broken_rule(check: Check, case: Case) -> None:
    # What is installed, and whether the toy set suits the stage, is beside the point of most cases.
    beside = {"missing-package", "wrong-dataset"} - {case.code}
    found = [d for d in check(case.text) if d.code not in beside]
    assert [(d.code, d.severity) for d in found] == [(case.code, case.severity)]
    lines = written(case.text).splitlines()
    assert lines[found[0].span.line - 1].startswith(case.key)


@pytest.mark.parametrize("text", GOOD, ids=lambda text: text.replace("\n", "; ") or "base")
def test_nothing_is_said_of_good_settings(check: Check, text: str) -> None:
    assert check(text) == []


@pytest.mark.parametrize(
    "more",
    [
        "ref_model: org/model\nref_model_adapters: org/lora",
        "create_new_adapter: true",
        "pref_loss: simpo",
    ],
)
def test_preferences_held_against_the_fine_tuned_model(check: Check, more: str) -> None:
    text = f"stage: dpo\ndataset: pairs\nadapter_name_or_path: org/lora\n{more}"
    assert check(text) == []


def test_a_reward_model_that_can_be_saved(check: Check) -> None:
    assert check("stage: rm\ndataset: pairs\nmodel_name_or_path: ./tied") == []
    assert check("stage: rm\ndataset: pairs\nfinetuning_type: full\nmodel_name_or_path: ./folder/model") == []


def test_asked_for_no_gpu_the_launcher_sets_use_cpu(check: Check) -> None:
    recipe = "kind: sft\nresources: {gpus: 0}\ndataset: toy\n" + BLOCK + "  bf16: true\n"
    assert check("", recipe=recipe) == []


def test_gpus_of_the_machine_count(check: Check) -> None:
    assert check("bf16: true", gpus=1) == []
    assert check("fp16: true", gpus=1) == []
    recipe = "kind: sft\nresources: {gpus: 2}\ndataset: toy\n" + BLOCK
    assert check("", recipe=recipe + "  fp16: true\n") == []
    assert [d.code for d in check("", gpus=1, recipe=recipe.replace("2", "0") + "  fp16: true\n")] == [
        "needs-gpu"
    ]


def test_the_name_is_pointed_at_within_a_list(check: Check) -> None:
    (item,) = check("dataset: toy, toyy")
    line = written("dataset: toy, toyy").splitlines()[item.span.line - 1]
    assert line[item.span.column - 1 : item.span.end_column - 1] == "toyy"
    assert item.hint == "did you mean `toy`?"


def test_a_template_is_asked_for(check: Check) -> None:
    recipe = "kind: sft\ndataset: toy\nllamafactory:\n  model_name_or_path: o/m\n"
    (item,) = check("", recipe=recipe)
    assert (item.code, item.severity, item.span.line) == ("no-template", "warning", 3)
    assert check("", recipe=recipe + "  stage: pt\n") == []
    assert check("", recipe=recipe + "  template:\n") == []


def test_code_of_a_model_is_trusted_by_name(check: Check, place: Path) -> None:
    text = "trust_remote_code: true\nmodel_name_or_path: tied"
    (place / "tied" / "config.json").write_text('{"auto_map": {"AutoModel": "mine.Model"}}')
    (item,) = check(text)
    assert (item.code, item.severity) == ("untrusted", "warning")
    assert "`--trust tied`" in (item.hint or "")
    assert check(text, trust=("tied",)) == []
    (item,) = check("trust_remote_code: true\nstage: dpo\ndataset: pairs\nref_model: o/ref", trust=("o/ref",))
    assert "org/model" in item.message
    assert "o/ref" not in item.message


def test_output_dir_of_ours_may_be_used(check: Check, place: Path) -> None:
    (place / "used" / ".residency.json").write_text('{"name": "train"}')
    assert check("output_dir: used") == []


def test_recipe_with_datasets_at_the_top(check: Check, place: Path) -> None:
    head = "kind: sft\ndataset: toy\neval_dataset: pairs\n" + BLOCK
    found = check("", recipe=head + "  eval_strategy: steps\n")
    assert [(d.code, d.span.line) for d in found] == [("wrong-dataset", 3)]
    both = head.replace("eval_dataset: pairs\n", "") + "  dataset: toy\n"
    assert [(d.code, d.span.line) for d in check("", recipe=both)] == [("conflicting-keys", 2)]


@pytest.mark.parametrize("name", rules_deepspeed.names())
def test_shipped_deepspeed(check: Check, name: str) -> None:
    assert check(f"deepspeed: {name}\nbf16: true\nuse_cpu: true") == []


def test_what_deepspeed_is_shipped() -> None:
    assert rules_deepspeed.names() == ["zero0", "zero2", "zero2_offload", "zero3", "zero3_offload"]


DEEPSPEED: list[tuple[Any, str, str, str]] = [
    ({"bf16": {"enabled": "auto"}}, "", "bad-deepspeed", "no `zero_optimization`"),
    ({"zero_optimization": {"stage": 5}}, "", "bad-deepspeed", "stages 0 to 3"),
    ({"zero_optimization": {"stage": "auto"}}, "", "bad-deepspeed", "auto"),
    ({"zero_optimization": {"stage": 2, "allgather_bucket_size": "auto"}}, "", "bad-deepspeed", "allgather"),
    ({"train_micro_batch_size_per_gpu": 4}, "per_device_train_batch_size: 2", "bad-deepspeed", "is 4, but"),
    ({"gradient_accumulation_steps": 4}, "", "bad-deepspeed", "by default"),
    ({"gradient_clipping": 0.5}, "", "bad-deepspeed", "max_grad_norm"),
    (
        {"optimizer": {"type": "AdamW", "params": {"lr": 1e-3}}},
        "learning_rate: 1.0e-4",
        "bad-deepspeed",
        "learning_rate",
    ),
    ({"bf16": {"enabled": True}}, "", "bad-deepspeed", "bf16"),
    ({"zero_optimization": {"stage": 3}}, "pissa_init: true", "conflicting-keys", "ZeRO-3"),
    ({"zero_optimization": {"stage": 3}}, "quantization_bit: 8", "conflicting-keys", "4 bits"),
]


@pytest.mark.parametrize(("content", "more", "code", "words"), DEEPSPEED)
def test_deepspeed_content(check: Check, place: Path, content: Any, more: str, code: str, words: str) -> None:
    (place / "ds.json").write_text(json.dumps(content))
    found = [d for d in check(f"deepspeed: ds.json\n{more}") if d.code != "missing-package"]
    assert any(d.code == code and words in f"{d.message} {d.hint}" for d in found)
    inline = yaml.safe_dump({"deepspeed": content}) + more
    found = [d for d in check(inline) if d.code != "missing-package"]
    assert any(d.code == code and words in f"{d.message} {d.hint}" for d in found)


def test_deepspeed_file(check: Check, place: Path) -> None:
    (missing,) = check("deepspeed: zero33")
    assert (missing.code, missing.hint) == ("missing-file", "did you mean `zero3`?")
    (place / "ds.json").write_text('{"zero_optimization": {"stage": 3}')
    (broken,) = check("deepspeed: ds.json")
    assert broken.code == "bad-deepspeed"
    assert broken.notes[0][1].file == "ds.json"
