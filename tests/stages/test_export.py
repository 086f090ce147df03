from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from stage_case import check

from residency import stages
from residency.engines.base import Job

KIND = stages.get("export")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, config in (("model", "config.json"), ("adapter", "adapter_config.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / config).write_text("{}")
    (tmp_path / "file.gguf").touch()
    return tmp_path


def test_output() -> None:
    assert {name: (o.path, o.what) for name, o in KIND.outputs({}).items()} == {"model": ("model", "model")}
    assert KIND.engine({}).name == "transformers"


def test_inputs(folder: Path) -> None:
    config = {"kind": "export", "model": "model", "adapter": "⟦stages.sft.outputs.adapter⟧"}
    assert KIND.inputs(config, folder, folder).files == (folder / "model",)
    config = {"kind": "export", "source": {"url": "file.gguf"}}
    assert KIND.inputs(config, folder, folder).files == (folder / "file.gguf",)
    config = {"kind": "export", "source": {"url": "https://example.org/file.gguf"}}
    assert KIND.inputs(config, folder, folder).files == ()


def test_all_is_well(folder: Path) -> None:
    assert check({"kind": "export", "model": "model", "adapter": "adapter"}, folder) == []
    assert check({"kind": "export", "model": "someone/on-the-hub"}, folder) == []
    assert check({"kind": "export", "model": "⟦stages.sft.outputs.model⟧"}, folder) == []


def test_mistakes(folder: Path) -> None:
    assert (
        check({"kind": "export", "model": "model", "source": {"url": "x"}}, folder)[0][0]
        == "conflicting-keys"
    )
    assert check({"kind": "export", "model": "adapter"}, folder) == [
        ("model-missing", "adapter holds no config.json, so it is no model")
    ]
    assert check({"kind": "export", "model": "./nowhere", "adapter": "model"}, folder) == [
        ("model-missing", "the model ./nowhere is not there"),
        ("model-missing", "model holds no adapter_config.json, so it is no adapter"),
    ]


def test_stage_file(folder: Path) -> None:
    config = {"kind": "export", "name": "m", "model": "model", "adapter": "/store/sft-1/outputs/adapter"}
    job = Job("export", "export", config, folder / "store", folder, folder)
    launch = KIND.engine(config).prepare(job)
    assert yaml.safe_load(launch.files["stage.yaml"]) == {
        "name": "m", "dtype": "auto", "base": str(folder), "model": str(folder / "model"),
        "adapter": "/store/sft-1/outputs/adapter", "recipe": config,
    }  # fmt: skip
    assert launch.argv[1:] == ("-m", "residency.engines.transformers.export", "stage.yaml")
    assert launch.env["HF_HUB_OFFLINE"] == "1"
    hub = Job("export", "export", {"model": "someone/on-the-hub"}, folder / "store", folder, folder)
    assert "HF_HUB_OFFLINE" not in KIND.engine(config).prepare(hub).env
