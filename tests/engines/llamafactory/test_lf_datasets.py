from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from training_case import tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory.engine import ENGINE
from residency.errors import RecipeInvalid

MakeJob = Callable[..., Job]
MODEL = Path("/models/some")


def info(job: Job) -> dict[str, dict[str, object]]:
    return json.loads(ENGINE.prepare(job).files["dataset_info.json"])


def test_only_what_is_used_with_absolute_paths(make_job: MakeJob, project: Path) -> None:
    assert info(make_job(tiny_block(MODEL))) == {"toy": {"file_name": str(project / "data" / "toy.json")}}


def test_outputs_of_other_stages(make_job: MakeJob, project: Path) -> None:
    made = {
        "/store/data-1/outputs/train.jsonl": {"formatting": "alpaca"},
        "/store/data-2/outputs/train.jsonl": {"formatting": "sharegpt"},
    }
    job = make_job(
        tiny_block(MODEL), dataset=[*made, "toy"], datasets=made, config={"eval_dataset": next(iter(made))}
    )
    assert info(job) == {
        "train": {"file_name": "/store/data-1/outputs/train.jsonl", "formatting": "alpaca"},
        "train_": {"file_name": "/store/data-2/outputs/train.jsonl", "formatting": "sharegpt"},
        "toy": {"file_name": str(project / "data" / "toy.json")},
    }
    written = yaml.safe_load(ENGINE.prepare(job).files["train.yaml"])
    assert written["dataset"] == "train,train_,toy"
    assert written["eval_dataset"] == "train"


def test_unknown_name(make_job: MakeJob) -> None:
    with pytest.raises(RecipeInvalid, match="`toi` is not in dataset_info") as error:
        ENGINE.prepare(make_job(tiny_block(MODEL), dataset="toi"))
    assert error.value.hint == "did you mean `toy`?"


def test_plain_yaml_reads_data_below_the_current_folder(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "LLaMA-Factory"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "dataset_info.json").write_text(json.dumps({"toy": {"file_name": "mine.json"}}))
    monkeypatch.chdir(folder)
    job = make_job(tiny_block(MODEL, dataset="toy, toy_pairs"), dataset=None)
    entries = info(job)
    assert entries["toy"]["file_name"] == str(folder / "data" / "mine.json")
    assert entries["toy_pairs"]["ranking"] is True  # not there, so the project's


def test_dataset_dir(make_job: MakeJob, project: Path) -> None:
    (project / "more").mkdir()
    (project / "more" / "dataset_info.json").write_text(
        json.dumps({"pics": {"file_name": "p.json", "columns": {"messages": "m", "images": "images"}}})
    )
    job = make_job(tiny_block(MODEL, dataset_dir="more"), dataset="pics")
    assert info(job)["pics"]["file_name"] == str(project / "more" / "p.json")
    assert yaml.safe_load(ENGINE.prepare(job).files["train.yaml"])["media_dir"] == str(project / "more")


def test_online_names_are_left_to_llamafactory(make_job: MakeJob) -> None:
    launch = ENGINE.prepare(make_job(tiny_block(MODEL, dataset_dir="ONLINE"), dataset="someone/data"))
    written = yaml.safe_load(launch.files["train.yaml"])
    assert (written["dataset"], written["dataset_dir"]) == ("someone/data", "ONLINE")
    assert "dataset_info.json" not in launch.files
    assert "HF_HUB_OFFLINE" not in launch.env
