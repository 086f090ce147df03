"""A plain LLaMA-Factory YAML and the recipe that is made of it mean the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.cli.main import main
from residency.recipe.load import load
from residency.recipe.model import Recipe

TEXT = """### model
model_name_or_path: models/base  # the base
trust_remote_code: yes

### method
stage: sft
do_train: true
finetuning_type: lora
lora_target: q_proj,v_proj

### dataset
dataset: toy, more   # two of them
eval_dataset:
  - toy
template: llama3
cutoff_len: 2_048
eval_strategy: steps

### output
output_dir: saves/x
run_name: "a: ${HOME}"
learning_rate: 1e-4
deepspeed: ds/z3.json
lr_scheduler_kwargs:
  # nested
  num_cycles: 2
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "models" / "base").mkdir(parents=True)
    (tmp_path / "models" / "base" / "config.json").write_text("{}")
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds" / "z3.json").write_text("{}")
    (tmp_path / "data").mkdir()
    entry = {"file_name": "toy.jsonl"}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps({"toy": entry, "more": entry}))
    (tmp_path / "data" / "toy.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    (tmp_path / "recipes").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(path: Path) -> Recipe:
    recipe, found = load(path, cwd=Path.cwd())
    assert recipe is not None
    assert found.ok, [d.message for d in found]
    return recipe


def whole(recipe: Recipe) -> dict[str, Any]:
    """The block with the datasets in it."""
    config = recipe.config
    lifted = {key: config[key] for key in ("dataset", "eval_dataset") if key in config}
    return {**config["llamafactory"], **lifted}


def test_means_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "train.yaml").write_text(TEXT)
    out = place / "recipes" / "x.yaml"
    assert main(["import", "llamafactory", "train.yaml", "-o", "recipes/x.yaml"]) == 0
    before, after = whole(read(place / "train.yaml")), whole(read(out))
    moved = {"model_name_or_path": "../models/base", "output_dir": "../saves/x", "deepspeed": "../ds/z3.json"}
    assert after == {**before, **moved, "dataset_dir": "../data"}
    assert before["trust_remote_code"] is True
    text = out.read_text()
    for comment in ("### model", "# the base", "# nested"):
        assert comment in text
    assert text.startswith("# yaml-language-server: $schema=")
    assert not read(out).plain_llamafactory
    assert main(["import", "llamafactory", "train.yaml", "-o", "recipes/x.yaml"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert main(["import", "llamafactory", "recipes/x.yaml"]) == 2
    assert "is a recipe already" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "{model_name_or_path: org/m, stage: sft, dataset: [toy, more], template: llama3, bf16: on}\n",
        "---\nmodel_name_or_path: org/m\nstage: pt\ndataset:\n- toy\n\n- more\n\ntemplate: llama3\n",
        'model_name_or_path: "org/m"\nstage: sft\ndataset: "toy"\nrun_name: |\n  two\n  lines\n',
        "dataset: toy\nmodel_name_or_path: org/m\nstage: sft\nmax_steps: 1_0\nseed: 0x1F\n",
    ],
)
def test_spellings(place: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (place / "train.yaml").write_text(text)
    assert main(["import", "llamafactory", "train.yaml"]) == 0
    (place / "y.yaml").write_text(capsys.readouterr().out)
    before, after = whole(read(place / "train.yaml")), whole(read(place / "y.yaml"))
    assert after == {**before, "dataset_dir": "data"}


def test_broken_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "train.yaml").write_text("model_name_or_path: [\n")
    assert main(["import", "llamafactory", "train.yaml"]) == 2
    assert "train.yaml" in capsys.readouterr().err
    assert main(["import", "llamafactory", "none.yaml"]) == 2
