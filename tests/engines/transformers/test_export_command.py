from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.engines import hf_folder
from residency.engines.base import Job
from residency.engines.transformers import export
from residency.engines.transformers.engine import ENGINE
from residency.errors import StageFailed


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[..., Job]:
    def make(**config: Any) -> Job:
        folder = tmp_path / "store" / "export-0123"
        return Job(
            name="model", kind="export", config={"kind": "export", "name": "my-model", **config},
            folder=folder, recipe_folder=tmp_path, project=tmp_path,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA adapter with weights that change something, laid out like a training stage's output."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stage = tmp_path_factory.mktemp("store") / "sft-4567"
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM"),
    )
    torch.manual_seed(1)
    for name, value in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(value, std=0.2)
    folder = stage / "outputs" / "adapter"
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    data = stage / "rows.json"
    data.write_text("[]")
    (stage / "train.yaml").write_text(
        yaml.safe_dump({"model_name_or_path": str(tiny_model), "learning_rate": 1e-4, "env": {"A": "b"}})
    )
    (stage / "dataset_info.json").write_text(json.dumps({"toy": {"file_name": str(data)}}))
    (stage / "state.json").write_text(json.dumps({"metrics": {"steps": 100, "train_loss": 0.123456}}))
    return folder


def run(job: Job) -> int:
    launch = ENGINE.prepare(job)
    job.folder.mkdir(parents=True, exist_ok=True)
    for name, text in launch.files.items():
        (job.folder / name).write_text(text)
    return export.main([str(job.folder / "stage.yaml")])


def logits(folder: Path, ids: list[int], adapter: Path | None = None) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    if adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(adapter))
    with torch.no_grad():
        return model.eval()(torch.tensor([ids])).logits


def test_merged_model_computes_what_model_and_adapter_do(
    make_job: Callable[..., Job], tiny_model: Path, adapter: Path
) -> None:
    job = make_job(model=str(tiny_model), adapter=str(adapter))
    assert run(job) == 0
    done = ENGINE.verify(job)
    assert done.warnings == ()
    assert done.metrics["did"] == "merge"
    folder = done.outputs["model"]
    ids = [5, 60, 200, 301]
    with_adapter, merged, base = (
        logits(tiny_model, ids, adapter),
        logits(folder, ids),
        logits(tiny_model, ids),
    )
    assert (with_adapter - base).abs().max() > 0.01
    assert (with_adapter - merged).abs().max() < 1e-4
    assert not any(path.name.startswith("adapter") for path in folder.iterdir())


def test_card_of_a_merged_model(make_job: Callable[..., Job], tiny_model: Path, adapter: Path) -> None:
    job = make_job(
        model=str(tiny_model), adapter=str(adapter), dtype="bfloat16", env={"HF_TOKEN": "⟦secret:X⟧"}
    )
    assert run(job) == 0
    card = (job.outputs / "model" / "README.md").read_text()
    head = yaml.safe_load(card.split("---")[1])
    assert head["pipeline_tag"] == "text-generation"
    assert "learning_rate: 0.0001" in card
    assert "| train_loss | 0.1235 |" in card
    assert "| toy | rows.json | `4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945` |" in card
    assert "dtype: bfloat16" in card
    assert "- transformers " in card
    assert str(tiny_model.parent) not in card  # no folder of this machine
    assert "HF_TOKEN" not in card
    assert ENGINE.verify(job).metrics["dtype"] == "BF16"


def test_untrained_adapter_is_told(make_job: Callable[..., Job], tiny_model: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    fresh = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    fresh.save_pretrained(tmp_path / "fresh")
    job = make_job(model=str(tiny_model), adapter=str(tmp_path / "fresh"))
    assert run(job) == 0
    assert "changes nothing" in ENGINE.verify(job).warnings[0]


def test_adapter_of_another_model(
    make_job: Callable[..., Job], adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny_model import make_tiny_model

    other = make_tiny_model(tmp_path / "other", hidden=96)
    job = make_job(model=str(other), adapter=str(adapter))
    assert run(job) == 4
    said = ENGINE.explain_failure(job, capsys.readouterr().out)
    assert "does not fit" in said[0]
    assert said[1] == "merge it into the model that it was trained on"
    assert not (job.outputs / "model").exists()


def test_copy_is_byte_for_byte(make_job: Callable[..., Job], tiny_model: Path) -> None:
    job = make_job(model=str(tiny_model))
    assert run(job) == 0
    done = ENGINE.verify(job)
    assert done.metrics["did"] == "copy"
    for name in ("model.safetensors", "tokenizer.json"):
        assert (done.outputs["model"] / name).read_bytes() == (tiny_model / name).read_bytes()


def test_conversion_to_another_type(make_job: Callable[..., Job], tiny_model: Path) -> None:
    job = make_job(model=str(tiny_model), dtype="bfloat16")
    assert run(job) == 0
    done = ENGINE.verify(job)
    assert done.metrics["did"] == "convert"
    assert {t.dtype for t in hf_folder.read_weights(done.outputs["model"]).values()} == {"BF16"}
    assert hf_folder.read_json(done.outputs["model"] / "config.json")["dtype"] == "bfloat16"


def test_source(make_job: Callable[..., Job], tiny_gguf: Path) -> None:
    pytest.importorskip("residency.sources.fetch")
    source = {"url": str(tiny_gguf), "licence": "Apache-2.0 (someone)"}
    job = make_job(source=source, dtype="float32")
    assert run(job) == 0
    card = (job.outputs / "model" / "README.md").read_text()
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"
    assert "- **Base model:** Tiny" in card
    assert ENGINE.verify(job).metrics["did"] == "convert"


def test_nothing_is_left_half_written(
    make_job: Callable[..., Job],
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = make_job(model=str(tiny_model))

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "README.md")

    monkeypatch.setattr(export.card.Card, "text", full)
    assert run(job) == 4
    told = capsys.readouterr().out
    assert "error: No space left on device: README.md\nhint: make room on the disk" in told
    assert not (job.outputs / "model").exists()
    with pytest.raises(StageFailed, match="without a checkpoint"):
        ENGINE.verify(job)
    ENGINE.resume(job)
    assert list(job.outputs.iterdir()) == []


def test_cut_off_weights_are_refused(make_job: Callable[..., Job], tiny_model: Path) -> None:
    job = make_job(model=str(tiny_model))
    assert run(job) == 0
    weights = job.outputs / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(StageFailed, match="cut off"):
        ENGINE.verify(job)


def test_missing_model(make_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]) -> None:
    job = make_job(model="/nowhere/model")
    assert run(job) == 3
    assert ENGINE.explain_failure(job, capsys.readouterr().out)[0] == "the model /nowhere/model is not there"
