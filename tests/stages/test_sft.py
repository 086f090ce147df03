from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage_case import check

from residency import stages
from residency.plan.fingerprint import parts
from residency.plan.hashing import FileHashes

KIND = stages.get("sft")


@pytest.mark.parametrize(
    ("method", "output"),
    [(None, "adapter"), ("lora", "adapter"), ("oft", "adapter"), ("full", "model"), ("freeze", "model")],
)
def test_outputs(method: str | None, output: str) -> None:
    block = {} if method is None else {"finetuning_type": method}
    found = KIND.outputs({"kind": "sft", "llamafactory": block})
    assert {name: (o.path, o.what) for name, o in found.items()} == {output: (output, output)}


def test_engine() -> None:
    assert KIND.engine({"kind": "sft"}).name == "llamafactory"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "toy.json").write_text("[]")
    info = {"toy": {"file_name": "data/toy.json", "formatting": "alpaca"}, "other": {"file_name": "o.json"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    (tmp_path / "model").mkdir()
    return tmp_path


def test_inputs(project: Path) -> None:
    config = {
        "kind": "sft",
        "dataset": ["toy", "⟦stages.data.outputs.rows⟧"],
        "llamafactory": {
            "model_name_or_path": "model",
            "adapter_name_or_path": "⟦stages.a.outputs.adapter⟧",
            "deepspeed": "ds.json",
            "ref_model": "someone/on-the-hub",
        },
    }
    (project / "ds.json").write_text("{}")
    found = KIND.inputs(config, project, project)
    assert set(found.files) == {project / "model", project / "ds.json", project / "data" / "toy.json"}
    assert list(found.versions) == ["model_name_or_path", "dataset_info.toy"]
    for key in ("llamafactory.logging_steps", "llamafactory.output_dir", "llamafactory.report_to"):
        assert key in found.ignore
    for key in (
        "llamafactory.learning_rate",
        "llamafactory.seed",
        "llamafactory.save_steps",
        "llamafactory.dataset",
    ):
        assert key not in found.ignore


def test_the_way_to_data_and_models_does_not_count(project: Path) -> None:
    """A plain YAML and the recipe made of it are one training."""
    (project / "recipes").mkdir()

    def counted(folder: Path, config: dict[str, Any]) -> dict[str, str]:
        return parts(
            config,
            KIND.inputs(config, folder, project),
            engine="llamafactory",
            engine_version="1",
            stage_key=str,
            hashes=FileHashes(project / "hashes.json"),
            recipe_folder=folder,
            roots=(project,),
        )

    block = {"model_name_or_path": "model", "stage": "sft"}
    plain = {"kind": "sft", "llamafactory": {**block, "dataset": "toy, other", "dataset_dir": str(project)}}
    recipe = {
        "kind": "sft",
        "dataset": ["toy", "other"],
        "llamafactory": {**block, "model_name_or_path": "../model"},
    }
    assert counted(project, plain) == counted(project / "recipes", recipe)
    recipe["dataset"] = ["other", "toy"]
    assert counted(project, plain) != counted(project / "recipes", recipe)
    recipe["dataset"] = ["toy", "other"]
    (project / "model" / "config.json").write_text("{}")
    assert counted(project, plain) == counted(project / "recipes", recipe)


def test_how_a_dataset_is_read_counts_and_where_it_lies_does_not(project: Path) -> None:
    config = {"kind": "sft", "dataset": "toy", "llamafactory": {}}

    def version(**entry: Any) -> str:
        (project / "dataset_info.json").write_text(
            json.dumps({"toy": {"file_name": "data/toy.json", **entry}})
        )
        return KIND.inputs(config, project, project).versions["dataset_info.toy"]

    assert version(columns={"prompt": "q"}) != version(columns={"prompt": "r"})
    assert version(file_name="x.json") == version(file_name="y.json")


def test_unknown_dataset_is_left_to_the_check(project: Path) -> None:
    config = {"kind": "sft", "dataset": "nothing", "llamafactory": {}}
    assert KIND.inputs(config, project, project).files == ()


def test_trains_nothing(project: Path) -> None:
    config = {"kind": "sft", "dataset": "toy", "llamafactory": {"do_train": False}}
    assert [code for code, _ in check(config, project)] == ["trains-nothing"]


def test_nothing_to_say(project: Path) -> None:
    assert check({"kind": "sft", "dataset": "toy", "llamafactory": {"do_train": True}}, project) == []
