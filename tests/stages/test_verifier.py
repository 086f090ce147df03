from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from stage_case import check

from residency import stages
from residency.engines.base import Job
from residency.errors import Missing
from residency.verifier import text

KIND = stages.get("verifier")
ROW = {"response": "yes", "reference": "yes", "label": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, config in (("model", "config.json"), ("adapter", "adapter_config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / config).write_text("{}")
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    (tmp_path / "other.jsonl").write_text(
        json.dumps({"respons": "a", "reference": "b", "label": "perhaps"}) + "\n"
    )
    (tmp_path / "empty.jsonl").touch()
    registered = {"pairs": {"file_name": "rows.jsonl"}, "gone": {"file_name": "gone.jsonl"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(registered))
    return tmp_path


def config(**keys: Any) -> dict[str, Any]:
    return {"kind": "verifier", "model": "model", "dataset": "rows.jsonl", **keys}


def test_outputs() -> None:
    assert {name: (o.path, o.what) for name, o in KIND.outputs({}).items()} == {
        "model": ("model", "model"),
        "predictions": ("predictions.jsonl", "file"),
    }


def test_inputs(folder: Path) -> None:
    found = KIND.inputs(config(eval_dataset="pairs, ⟦stages.data.outputs.x⟧"), folder, folder)
    assert found.files == (folder / "model", folder / "rows.jsonl")
    assert "training.logging_steps" in found.ignore
    assert "residency.verifier.text.fill" in found.functions
    assert (
        KIND.inputs(config(model="⟦stages.m.outputs.model⟧", dataset="nowhere"), folder, folder).files == ()
    )


def test_all_is_well(folder: Path) -> None:
    assert check(config(dataset=["rows.jsonl", "pairs"], resources={"gpus": 1}), folder) == []
    later = config(model="⟦stages.m.outputs.model⟧", dataset="⟦stages.data.outputs.x⟧")
    assert check(later, folder) == []
    assert check(config(model="someone/on-the-hub", template="{response} {reference}"), folder) == []


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({"model": "adapter"}, [("model-missing", "adapter holds no config.json, so it is no model")]),
        ({"model": "./no"}, [("model-missing", "the model ./no is not there")]),
        ({"dataset": "pair"}, [("unknown-dataset", "the dataset `pair` is not in dataset_info.json")]),
        ({"dataset": "empty.jsonl"}, [("bad-data", "`empty.jsonl` holds no rows")]),
        (
            {"columns": {"label": "lable"}},
            [("column-missing", "`rows.jsonl` has no column `lable` for the label")],
        ),
        (
            {"eval_dataset": "other.jsonl"},
            [
                (
                    "bad-data",
                    "`other.jsonl`, row 1: `label` is 'perhaps', and a label is true or false, 1 or 0, "
                    "right or wrong",
                ),
                ("column-missing", "`other.jsonl` has no column `response` for the response"),
            ],
        ),
        (
            {"template": "{response}"},
            [("wrong-form", "the verifier's template has no place for the reference: add {reference}")],
        ),
        (
            {"resources": {"gpus": 4}},
            [("out-of-range", "a verifier is trained on one GPU, and 4 are asked for")],
        ),
        (
            {"eval_dataset": "pairs", "holdout": 0.2},
            [("unused-key", "`holdout` has no effect beside `eval_dataset`")],
        ),
    ],
)  # fmt: skip
def test_mistakes(folder: Path, keys: dict[str, Any], wanted: list[tuple[str, str]]) -> None:
    assert check(config(**keys), folder) == wanted


def test_a_file_that_is_gone(folder: Path) -> None:
    assert [code for code, _ in check(config(dataset="gone"), folder)] == ["missing-file"]


def test_stage_file(folder: Path) -> None:
    given = config(columns={"label": "right"}, threshold=0.0, seed=0, training={"max_steps": 3})
    job = Job("v", "verifier", given, folder / "store", folder, folder, threads=2)
    launch = KIND.engine(given).prepare(job)
    assert yaml.safe_load(launch.files["stage.yaml"]) == {
        "name": "v", "model": str(folder / "model"), "dataset": [str(folder / "rows.jsonl")],
        "eval_dataset": [], "holdout": 0.1,
        "columns": {"response": "response", "reference": "reference", "label": "right"},
        "template": text.TEMPLATE, "max_length": 4000, "threshold": 0.0, "min_accuracy": None,
        "seed": 0, "cpu": True, "threads": 2, "training": {"max_steps": 3},
    }  # fmt: skip
    assert launch.argv[1:] == ("-m", "residency.engines.transformers.verifier.train", "stage.yaml")
    assert launch.env["CUDA_VISIBLE_DEVICES"] == ""
    on_gpu = Job("v", "verifier", given, folder / "store", folder, folder, gpus=1)
    assert "CUDA_VISIBLE_DEVICES" not in KIND.engine(given).prepare(on_gpu).env
    with pytest.raises(Missing, match="no\\.jsonl is not there"):
        KIND.engine(given).prepare(Job("v", "verifier", config(dataset="no.jsonl"), folder, folder, folder))
