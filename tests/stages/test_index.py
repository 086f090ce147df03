from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from stage_case import check

from residency import stages
from residency.plan.build import _gpus

KIND = stages.get("index")
MODEL = {"model": "someone/on-the-hub"}
SHA256 = "0" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "nothing").mkdir()
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "manifest.json").write_text("{}")
    for name, row in (
        ("rows.jsonl", {"id": 1, "title": "T", "text": "x"}),
        ("searchr1.jsonl", {"id": 1, "contents": '"T"\nx'}),
        ("other.jsonl", {"number": 1, "title": "T", "body": "x"}),
    ):
        (tmp_path / name).write_text(json.dumps(row) + "\n")
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": 1, "text": "caf\xe9"}\n')
    (tmp_path / "slides.pptx").touch()
    return tmp_path


def config(**keys: Any) -> dict[str, Any]:
    return {"kind": "index", "corpus": "rows.jsonl", "encoder": MODEL, **keys}


def test_outputs() -> None:
    assert {name: (o.path, o.what) for name, o in KIND.outputs({}).items()} == {"index": ("index", "index")}


def test_inputs(folder: Path) -> None:
    given = config(corpus=["rows.jsonl", {"url": "pypi:a==1"}, "⟦stages.c.outputs.corpus⟧"])
    found = KIND.inputs(given | {"encoder": {"model": "model"}}, folder, folder)
    assert found.files == (folder / "rows.jsonl", folder / "model")
    assert "encoder.batch_tokens" in found.ignore
    local = config(corpus={"url": str(folder / "searchr1.jsonl")})
    assert KIND.inputs(local, folder, folder).files == (folder / "searchr1.jsonl",)


def test_all_is_well(folder: Path) -> None:
    assert check(config(corpus=["rows.jsonl", "searchr1.jsonl", "corpus"]), folder) == []
    assert check(config(encoder=None, bm25=True, search="bm25"), folder) == []
    later = config(corpus="⟦stages.c.outputs.corpus⟧", encoder={"model": "⟦stages.m.outputs.model⟧"})
    assert check(later, folder) == []
    columns = {"id": "number", "text": "body"}
    assert (
        check(config(corpus="other.jsonl", columns=columns, bm25={"k1": 1.2}, search="hybrid"), folder) == []
    )
    assert check(config(index={"type": "ivf_pq", "nlist": 10, "refine": True}), folder) == []
    source = {"url": "pypi:a==1", "sha256": SHA256, "unpack": True}
    assert check(config(encoder={"model": source}), folder) == []


@pytest.mark.parametrize(
    ("keys", "code", "said"),
    [
        ({"encoder": None}, "missing-key", "vectors or words"),
        ({"encoder": None, "bm25": False}, "missing-key", "vectors or words"),
        ({"corpus": "gone.jsonl"}, "missing-file", "gone.jsonl is not there"),
        ({"corpus": "nothing"}, "bad-data", "is no corpus"),
        ({"corpus": "empty.jsonl"}, "bad-data", "holds no documents"),
        ({"corpus": "slides.pptx"}, "bad-data", "not known as documents"),
        ({"corpus": {"url": "gone.jsonl"}}, "missing-file", "gone.jsonl is not there"),
        ({"corpus": {"url": "ftp://x/y"}}, "bad-url", "not known"),
        ({"columns": {"text": "txt"}}, "column-missing", "no column `txt`"),
        ({"encoder": {"model": "nothing"}}, "model-missing", "no config.json"),
        ({"encoder": {"model": "./gone"}}, "model-missing", "is not there"),
        ({"encoder": {"model": {"url": "pypi:a==1"}}}, "missing-key", "one file"),
        ({"encoder": {"model": "intfloat/e5-base-v2"}}, "unusual-value", "was trained with more"),
        ({"encoder": {"model": "ncbi/MedCPT-Article-Encoder"}}, "unusual-value", "was trained with more"),
        ({"index": {"type": "flat", "nprobe": 3}}, "unused-key", "`nprobe` has no effect"),
        ({"index": {"ef_search": 64}}, "unused-key", "on an index of type auto"),
        ({"index": {"type": "hnsw", "memory": 3}}, "unused-key", "for `type: auto`"),
        ({"encoder": None, "bm25": True, "index": {"type": "flat"}}, "unused-key", "without an `encoder`"),
        ({"search": "bm25"}, "conflicting-keys", "does not have: words"),
        ({"encoder": None, "bm25": True, "search": "dense"}, "conflicting-keys", "vectors"),
    ],
)
def test_mistakes(folder: Path, keys: dict[str, Any], code: str, said: str) -> None:
    found = check(config(**keys), folder)
    assert [(c, said in message) for c, message in found] == [(code, True)], found


def test_a_file_without_the_columns_of_a_document(folder: Path) -> None:
    assert [code for code, _ in check(config(corpus="other.jsonl"), folder)] == ["column-missing"] * 2


def test_a_file_that_is_not_utf_8(folder: Path) -> None:
    assert [code for code, _ in check(config(corpus="latin.jsonl"), folder)] == ["bad-data"]


def test_it_takes_every_gpu_to_encode_and_none_for_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("residency.plan.build.machine.gpu_count", lambda: 4)
    assert _gpus({"encoder": MODEL}, "index") == 4
    assert _gpus({"bm25": True}, "index") == 0
    assert _gpus({"encoder": MODEL, "resources": {"gpus": 1}}, "index") == 1
