"""What a word on the command line means: a folder, a run, a name on the hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from residency.cli.models import Named, find
from residency.errors import Missing


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two runs: one left an adapter and then a model, one left neither."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("RESIDENCY_RUNS", str(folder))
    for name, key, file, text in (
        ("sft-1", "adapter", "adapter_config.json", '{"base_model_name_or_path": "owner/base"}'),
        ("export-1", "model", "config.json", "{}"),
    ):
        path = folder / "store" / name / "outputs" / key
        path.mkdir(parents=True)
        (path / file).write_text(text)
        state = {"outputs": {key: f"outputs/{key}"}}
        (folder / "store" / name / "state.json").write_text(json.dumps(state))
    stages = [
        {"name": "sft", "kind": "sft", "status": "done", "folder": "store/sft-1"},
        {"name": "export", "kind": "export", "status": "done", "folder": "store/export-1"},
        {"name": "later", "kind": "sft", "status": "failed", "folder": "store/sft-1"},
    ]
    for name, held in (("made", stages), ("empty", [])):
        run = folder / name / "20260101-000000-abcd"
        run.mkdir(parents=True)
        (run / "run.json").write_text(json.dumps({"stages": held}))
        (folder / name / "latest").symlink_to(run.name)
    return folder


def test_runs_and_stages(runs: Path) -> None:
    model = str(runs / "store/export-1/outputs/model")
    adapter = str(runs / "store/sft-1/outputs/adapter")
    for text in ("made", "made:export", "20260101-000000-abcd:export", str(runs / "made" / "latest")):
        assert find(text) == Named(model, None)
    assert find("made:sft") == Named("owner/base", adapter)
    assert find(adapter) == Named("owner/base", adapter)
    assert find(model) == Named(model, None)
    for text, words in (
        ("made:nothing", "no stage nothing"),
        ("empty", "left no model"),
        (str(runs / "empty" / "latest"), "holds no model"),
        (str(runs / "none"), "there is no folder"),
        ("./none", "there is no folder"),
    ):
        with pytest.raises(Missing, match=words):
            find(text)


def test_a_name_on_the_hub(runs: Path) -> None:
    assert find("owner/name") == Named("owner/name", None)
    assert find("gpt2") == Named("gpt2", None)


def test_a_model_one_folder_further(runs: Path) -> None:
    with pytest.raises(Missing) as raised:
        find(str(runs / "store/export-1/outputs"))
    assert raised.value.hint == f"did you mean {runs / 'store/export-1/outputs/model'}?"
