"""Every stage of training through `launch.py`, as recipes and as plain LLaMA-Factory YAMLs."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_model import TEXTS, make_tiny_model

from residency.engines.llamafactory.command import STANDIN

PROJECT = Path(__file__).resolve().parents[2]
PLAIN = """\
### model
model_name_or_path: model

### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all

### dataset
dataset: example_alpaca,example_sharegpt
template: qwen
cutoff_len: 128
max_samples: 1000
overwrite_cache: true
preprocessing_num_workers: 2

### output
output_dir: saves/tiny/lora/sft
logging_steps: 1
save_steps: 500
plot_loss: true
overwrite_output_dir: true
save_only_model: false
report_to: none  # choices: [none, wandb, tensorboard, swanlab, mlflow]

### train
per_device_train_batch_size: 1
gradient_accumulation_steps: 2
learning_rate: 1.0e-4
max_steps: 4
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
use_cpu: true
ddp_timeout: 180000000
resume_from_checkpoint: null

### eval
val_size: 0.2
per_device_eval_batch_size: 1
eval_strategy: steps
eval_steps: 2
"""
PIPELINE = """\
kind: pipeline
name: stages
stages:
  pt:
    kind: sft
    dataset: texts
    llamafactory: {model_name_or_path: model, stage: pt, finetuning_type: full, SAME}
  sft:
    kind: sft
    dataset: [example_alpaca, example_sharegpt]
    llamafactory:
      {model_name_or_path: "${stages.pt.outputs.model}", stage: sft, finetuning_type: lora, lora_rank: 4,
       SAME}
  rm:
    kind: sft
    dataset: example_dpo
    llamafactory:
      {model_name_or_path: "${stages.pt.outputs.model}", stage: rm, finetuning_type: lora, lora_rank: 4, SAME}
  dpo:
    kind: sft
    dataset: example_dpo
    llamafactory:
      model_name_or_path: ${stages.pt.outputs.model}
      adapter_name_or_path: ${stages.sft.outputs.adapter}
      ref_model: ${stages.pt.outputs.model}
      ref_model_adapters: ${stages.sft.outputs.adapter}
      <<: {stage: dpo, finetuning_type: lora, lora_rank: 4, SAME}
  kto:
    kind: sft
    dataset: example_kto
    llamafactory:
      {model_name_or_path: "${stages.pt.outputs.model}", stage: kto, finetuning_type: freeze,
       freeze_trainable_layers: 1, SAME}
  merged: {kind: export, model: "${stages.pt.outputs.model}", adapter: "${stages.dpo.outputs.adapter}"}
  evaluate:
    kind: evaluate
    model: ${stages.merged.outputs.model}
    tasks: [study_questions]
    data: {study_questions: data/questions.jsonl}
    lm_eval: {batch_size: 4, apply_chat_template: true}
"""
SAME = (
    "dataset_dir: data, template: qwen, cutoff_len: 32, per_device_train_batch_size: 2, max_steps: 2, "
    "logging_steps: 1, learning_rate: 1.0e-2, use_cpu: true"
)


TWO = """\
kind: sft
name: two
dataset: example_alpaca
env: {NPROC_PER_NODE: 2}
llamafactory:
  {model_name_or_path: model, stage: sft, finetuning_type: full, deepspeed: zero3, SAME}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder as a user of LLaMA-Factory has it: `data/` with its registry, a model, YAMLs."""
    folder = tmp_path / "work"
    shutil.copytree(PROJECT / "datasets", folder / "data")
    info = json.loads((PROJECT / "dataset_info.json").read_text())
    info = {name: {**entry, "file_name": Path(entry["file_name"]).name} for name, entry in info.items()}
    info["texts"] = {"file_name": "texts.jsonl", "columns": {"prompt": "text"}}
    (folder / "data" / "dataset_info.json").write_text(json.dumps(info))
    rows = [json.loads(line) for line in (folder / "data" / "example_alpaca.jsonl").read_text().splitlines()]
    texts = [f"{row['instruction']} {row['output']}" for row in rows]
    write_rows(folder / "data" / "texts.jsonl", [{"text": text} for text in texts])
    questions = [
        {"instruction": "Human?", "input": f"Study {n}.", "output": "<answer>yes</answer>", "pmid": str(n),
         "question_type": "humans", "label": "yes"}
        for n in range(2)
    ]  # fmt: skip
    write_rows(folder / "data" / "questions.jsonl", questions)
    make_tiny_model(folder / "model", [*TEXTS, *texts])
    (folder / "train.yaml").write_text(PLAIN)
    (folder / "two.yaml").write_text(TWO.replace("SAME", SAME))
    (folder / "stages.yaml").write_text(PIPELINE.replace("SAME", SAME))
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def python(place: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=place,
        env={
            **os.environ,
            "RESIDENCY_RUNS": str(place.parent / "runs"),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def launch(place: Path, *arguments: str) -> str:
    return python(place, str(PROJECT / "launch.py"), *arguments).stdout


def losses(folder: Path) -> list[tuple[Any, ...]]:
    rows = [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]
    return [(row["current_steps"], row.get("loss"), row.get("eval_loss"), row.get("lr")) for row in rows]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_plain_yaml_trains_as_by_hand_and_is_reused(place: Path) -> None:
    saves = place / "saves" / "tiny" / "lora" / "sft"
    launch(place, "train.yaml", "--plain")
    (place / "hand.yaml").write_text(PLAIN.replace("saves/tiny/lora/sft", "hand"))
    python(place, "-m", "llamafactory.cli", "train", "hand.yaml", PYTHONPATH=str(STANDIN))
    assert losses(saves) == losses(place / "hand")
    assert len([row for row in losses(saves) if row[1] is not None]) == 4
    left = {path.name for path in saves.iterdir()} - {".residency.json"}
    assert left == {path.name for path in (place / "hand").iterdir()}

    # The result is where the YAML says, also when it went missing, and also elsewhere.
    shutil.rmtree(saves)
    assert "reused" in launch(place, "train.yaml", "--plain", "--set", "output_dir=saves/again")
    assert (place / "saves" / "again" / "adapter_model.safetensors").is_file()
    assert "reused" in launch(place, "train.yaml", "--plain")
    assert (saves / "adapter_model.safetensors").is_file()

    def planned(file: str, *more: str) -> tuple[str, str, str]:
        (stage,) = json.loads(launch(place, "plan", file, "--format", "json", *more))["stages"]
        return stage["action"], stage["reason"], stage["key"]

    action, reason, _ = planned("train.yaml", "--set", "learning_rate=2.0e-4")
    assert (action, reason) == ("run", "learning_rate changed: 0.0001 → 0.0002")
    launch(place, "import", "llamafactory", "train.yaml", "-o", "recipes/mine.yaml")
    assert planned("recipes/mine.yaml")[0::2] == ("reuse", planned("train.yaml")[2])


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_pretraining_fine_tuning_rewards_and_preferences(place: Path) -> None:
    launch(place, "stages.yaml", "--plain")
    stages = place.parent / "runs" / "stages" / "latest" / "stages"
    states = {path.parent.name: json.loads(path.read_text()) for path in stages.glob("*/state.json")}
    assert {name: state["status"] for name, state in states.items()} == dict.fromkeys(
        ("contamination", "pt", "sft", "rm", "dpo", "kto", "merged", "evaluate"), "done"
    )
    for name in ("pt", "sft", "rm", "dpo", "kto"):
        assert states[name]["metrics"]["steps"] == 2
        assert states[name]["metrics"]["last_loss"] > 0
    others = ("evaluate", "contamination")
    assert {name: list(state["outputs"]) for name, state in states.items() if name not in others} == {
        "pt": ["model"],
        "sft": ["adapter"],
        "rm": ["adapter"],
        "dpo": ["adapter"],
        "kto": ["model"],
        "merged": ["model"],
    }
    assert (stages / "rm" / "outputs" / "adapter" / "value_head.safetensors").is_file()
    # Held against what it starts from, the first loss of DPO is that of a coin: -log(1/2).
    assert states["dpo"]["metrics"]["first_loss"] == pytest.approx(math.log(2), abs=1e-4)
    (score, *_) = json.loads((stages / "evaluate" / "outputs" / "results.json").read_text())["scores"]
    assert score["n"] == 2


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_zero3_over_two_processes(place: Path) -> None:
    """On a CPU; about half a minute, and as much again where DeepSpeed first compiles its extension."""
    pytest.importorskip("deepspeed")
    launch(place, "two.yaml", "--plain")
    stage = place.parent / "runs" / "two" / "latest" / "stages" / "sft"
    assert "world size: 2" in (stage / "log.txt").read_text(errors="replace")
    state = json.loads((stage / "state.json").read_text())
    assert state["status"] == "done"
    assert state["metrics"]["last_loss"] > 0
    # The weights were put together from both processes.
    config = json.loads((stage / "outputs" / "model" / "config.json").read_text())
    assert state["metrics"]["parameters_saved"] >= config["vocab_size"] * config["hidden_size"]
