from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_case import tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory import settings
from residency.engines.llamafactory.engine import ENGINE
from residency.errors import RecipeInvalid

MakeJob = Callable[..., Job]
MODEL = Path("/models/some")


def train(job: Job) -> dict[str, Any]:
    return yaml.safe_load(ENGINE.prepare(job).files["train.yaml"])


def test_what_the_recipe_says_stands(make_job: MakeJob) -> None:
    block = tiny_block(
        MODEL, logging_steps=7, save_steps=3, report_to="wandb", seed=5, optim="adamw_torch_fused"
    )
    made = train(make_job(block))
    assert {key: made[key] for key in block} == block


def test_what_is_ours(make_job: MakeJob) -> None:
    job = make_job(tiny_block(MODEL, output_dir="out", overwrite_output_dir=True, dataset_dir="."))
    made = train(job)
    assert made["output_dir"] == str(job.folder / "training")
    assert made["dataset_dir"] == str(job.folder)
    assert made["dataset"] == "toy"
    assert made["use_cpu"] is True
    assert made["report_to"] == "none"
    assert "overwrite_output_dir" not in made
    assert not any("output_dir" in note for note in ENGINE.prepare(job).notes)


def test_prepare_is_pure(make_job: MakeJob) -> None:
    job = make_job(tiny_block(MODEL))
    assert ENGINE.prepare(job) == ENGINE.prepare(job)
    assert not job.folder.exists()


def test_no_cpu_key_with_gpus(make_job: MakeJob) -> None:
    launch = ENGINE.prepare(make_job(tiny_block(MODEL), gpus=1))
    assert "use_cpu" not in yaml.safe_load(launch.files["train.yaml"])
    assert "CUDA_VISIBLE_DEVICES" not in launch.env
    assert "FORCE_TORCHRUN" not in launch.env


def test_torchrun_of_the_surroundings_is_not_taken_over(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_TORCHRUN", "1")
    assert ENGINE.prepare(make_job(tiny_block(MODEL), gpus=1)).env["FORCE_TORCHRUN"] == "0"
    assert ENGINE.prepare(make_job(tiny_block(MODEL), gpus=2)).env["FORCE_TORCHRUN"] == "1"


def test_precision_is_the_recipes_own(make_job: MakeJob) -> None:
    for gpus in (0, 1, 4):
        assert not {"bf16", "fp16", "tf32"} & train(make_job(tiny_block(MODEL), gpus=gpus)).keys()


def test_of_unknown_length_the_first_step_is_logged(make_job: MakeJob) -> None:
    assert train(make_job(tiny_block(MODEL, max_steps=-1)))["logging_first_step"] is True
    assert "logging_first_step" not in train(make_job(tiny_block(MODEL)))
    assert "logging_first_step" not in train(make_job(tiny_block(MODEL, max_steps=-1, logging_steps=5)))


def test_several_gpus(make_job: MakeJob) -> None:
    launch = ENGINE.prepare(make_job(tiny_block(MODEL), gpus=4))
    assert launch.env["FORCE_TORCHRUN"] == "1"
    assert launch.env["NPROC_PER_NODE"] == "4"
    assert launch.env["PATH"].startswith(str(Path(sys.executable).parent))
    assert launch.stall_seconds == 3600
    assert yaml.safe_load(launch.files["train.yaml"])["ddp_timeout"] == 180_000_000


def test_deepspeed_is_copied_with_its_batch_sizes(make_job: MakeJob, project: Path) -> None:
    given = {
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "zero_optimization": {"stage": 3},
    }
    (project / "ds.json").write_text(json.dumps(given))
    job = make_job(tiny_block(MODEL, deepspeed="ds.json"))
    launch = ENGINE.prepare(job)
    assert yaml.safe_load(launch.files["train.yaml"])["deepspeed"] == str(job.folder / "deepspeed.json")
    written = json.loads(launch.files["deepspeed.json"])
    assert written == {
        "train_micro_batch_size_per_gpu": 2,
        "zero_optimization": {"stage": 3},
        "gradient_accumulation_steps": 1,
    }
    assert launch.env["FORCE_TORCHRUN"] == "1"  # DeepSpeed wants torchrun, one process too
    assert launch.env["NPROC_PER_NODE"] == "1"


def test_deepspeed_that_is_not_there(make_job: MakeJob) -> None:
    with pytest.raises(RecipeInvalid, match="zero9 is not there"):
        ENGINE.prepare(make_job(tiny_block(MODEL, deepspeed="zero9")))


@pytest.mark.parametrize(
    ("given", "every", "limit"),
    [
        ({"max_steps": 4}, 1, 2),
        ({"max_steps": 1000}, 100, 2),
        ({"max_steps": 100_000}, 500, 2),
        ({"max_steps": -1, "num_train_epochs": 3}, 200, 2),
        ({"max_steps": 100, "save_steps": 40}, 40, None),
        ({"max_steps": 100, "save_total_limit": 5}, 10, 5),
        ({"max_steps": 100, "load_best_model_at_end": True, "eval_steps": 25}, 25, 2),
        ({"save_strategy": "epoch"}, None, None),
    ],
)
def test_checkpoints(make_job: MakeJob, given: dict[str, Any], every: int | None, limit: int | None) -> None:
    block = {k: v for k, v in tiny_block(MODEL).items() if k != "max_steps"}
    made = train(make_job({**block, **given}))
    assert (made.get("save_steps"), made.get("save_total_limit")) == (every, limit)


@pytest.mark.parametrize("given", [{"save_only_model": True}, {"save_strategy": "no"}, {"stage": "rm"}])
def test_no_going_on(make_job: MakeJob, given: dict[str, Any]) -> None:
    job = make_job(tiny_block(MODEL, **given))
    assert train(job)["overwrite_output_dir"] is True
    if "stage" not in given:
        assert any("starts from nothing" in note for note in ENGINE.prepare(job).notes)


def test_offline_only_when_all_is_local(make_job: MakeJob, project: Path) -> None:
    assert ENGINE.prepare(make_job(tiny_block(MODEL))).env["HF_HUB_OFFLINE"] == "1"
    hub = tiny_block(MODEL, model_name_or_path="Qwen/Qwen2.5-0.5B")
    assert "HF_HUB_OFFLINE" not in ENGINE.prepare(make_job(hub)).env
    (project / "dataset_info.json").write_text(json.dumps({"far": {"hf_hub_url": "someone/data"}}))
    assert "HF_HUB_OFFLINE" not in ENGINE.prepare(make_job(tiny_block(MODEL), dataset="far")).env


def test_relative_paths_become_absolute(make_job: MakeJob, project: Path) -> None:
    (project / "models" / "base").mkdir(parents=True)
    made = train(
        make_job(
            tiny_block(
                MODEL,
                model_name_or_path="models/base",
                adapter_name_or_path="./a, models/base",
                cache_dir="c",
            )
        )
    )
    assert made["model_name_or_path"] == str(project / "models" / "base")
    assert made["adapter_name_or_path"] == f"{project}/a,{project}/models/base"
    assert made["cache_dir"] == str(project / "c")


def test_tensorboard(make_job: MakeJob) -> None:
    job = make_job(tiny_block(MODEL, report_to=["tensorboard"]))
    assert ENGINE.prepare(job).env["TENSORBOARD_LOGGING_DIR"] == str(job.folder / "tensorboard")


@pytest.mark.parametrize(
    "value",
    [
        1e-6,
        "1e-6",
        "on",
        "yes",
        "null",
        "1_000",
        "12:30",
        "${x}",
        "a\nb",
        "#x",
        "",
        "∅",
        True,
        None,
        3,
        -0.5,
        ".5",
    ],
)
def test_values_are_read_back_by_omegaconf(value: Any) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    text = settings.to_yaml({"key": value})
    read = omegaconf.OmegaConf.to_container(omegaconf.OmegaConf.create(text))  # as LLaMA-Factory does
    assert read == {"key": value}
    assert type(read["key"]) is type(value)
