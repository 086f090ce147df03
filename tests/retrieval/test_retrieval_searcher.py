from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from retrieval_case import make_encoder, make_index, rows, write_rows

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.retrieval import manifest
from residency.retrieval.encoder import TextEncoder
from residency.retrieval.fusion import fuse
from residency.retrieval.searcher import Hit, Searcher, open_index


@pytest.fixture(scope="module")
def searcher(index: Path) -> Searcher:
    return open_index(index, threads=1)


@pytest.fixture
def copy(index: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(index, tmp_path / "index"))


def test_every_document_finds_itself(searcher: Searcher) -> None:
    documents = rows(300)
    found = searcher.search([f"{row['title']}\n{row['text']}" for row in documents], 1, how="dense")
    assert [hits[0].document["id"] for hits in found] == [row["id"] for row in documents]
    assert min(hits[0].score for hits in found) == pytest.approx(1, abs=1e-4)


def test_a_hit_is_a_document_and_its_score(searcher: Searcher) -> None:
    hit = searcher.search(["low back pain, site 20"], 3, how="bm25")[0][0]
    assert isinstance(hit, Hit)
    assert {"id", "title", "text", "contents"} <= set(hit.document)
    assert hit.document == searcher.document(hit.document["id"])
    assert hit.document["contents"].startswith(f'"{hit.document["title"]}"\n')
    assert searcher.document("no such id") is None
    assert searcher.count == searcher.manifest.count == 300


def test_hybrid_fuses_both(searcher: Searcher) -> None:
    query = "insulin pumps of adolescents, ward 20"
    dense, words = (searcher.rank([query], 100, how=how)[0] for how in ("dense", "bm25"))
    expected = fuse([[at for at, _ in dense], [at for at, _ in words]], 7)
    assert searcher.manifest.search == "hybrid"
    assert searcher.rank([query], 7)[0] == expected


def test_a_batch_is_encoded_once_and_each_query_gets_its_own(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    encode = TextEncoder.encode

    def counted(self: TextEncoder, texts: Any, **more: Any) -> Any:
        calls.append(len(texts))
        return encode(self, texts, **more)

    monkeypatch.setattr(TextEncoder, "encode", counted)
    queries = ["statins", "", "parkinson disease", " \n", "measles vaccination"]
    together = searcher.rank(queries, 4, how="dense")
    assert calls == [3]
    assert [len(ranking) for ranking in together] == [4, 0, 4, 0, 4]
    alone = [searcher.rank([query], 4, how="dense")[0] for query in queries]
    assert [[at for at, _ in r] for r in together] == [[at for at, _ in r] for r in alone]


def test_odd_questions(searcher: Searcher) -> None:
    assert searcher.search([], 5) == []
    with pytest.raises(RecipeInvalid, match="topk is 0"):
        searcher.search(["x"], 0)
    assert len(searcher.search(["statins"], 1_000_000, how="dense")[0]) == 300
    long = "statins and muscle pain " * 5_000
    assert len(long) > 100_000
    assert len(searcher.search([long, "\ud83d \x00 ☃"], 5)[0]) == 5
    with pytest.raises(RecipeInvalid, match="no way to search"):
        searcher.search(["x"], 5, how="both")  # type: ignore[arg-type]


def test_an_index_of_words_alone(tmp_path: Path, corpus: Path, own_cache: Path) -> None:
    searcher = open_index(make_index(corpus, tmp_path / "i", bm25={"k1": 0.9}))
    assert searcher.manifest.search == "bm25"
    assert searcher.manifest.words is not None
    assert searcher.manifest.words.k1 == 0.9
    assert searcher.search(["measles"], 2)[0][0].document["title"].endswith("rural clinics")
    with pytest.raises(RecipeInvalid, match="no vectors to search"):
        searcher.search(["x"], 5, how="dense")


def test_two_models_that_belong_together(
    tmp_path: Path, corpus: Path, encoder: Path, own_cache: Path
) -> None:
    other = make_encoder(tmp_path / "other", seed=0)
    given = {
        "model": str(encoder),
        "query_model": str(other),
        "pair": True,
        "pooling": "cls",
        "normalize": False,
    }
    made = make_index(corpus, tmp_path / "i", encoder=given)
    spec = manifest.read(made).encoder
    assert spec is not None
    assert (spec.pair, spec.pooling, spec.normalize) == (True, "cls", False)
    assert spec.query_sha256
    assert len(open_index(made).search(["statins"], 3)[0]) == 3
    wide = make_encoder(tmp_path / "wide", hidden=64)
    with pytest.raises(StageFailed, match="64 dimensions, the one for documents of 32"):
        make_index(corpus, tmp_path / "j", encoder={**given, "query_model": str(wide)})


def test_parts_that_do_not_belong_together(
    copy: Path, index: Path, tmp_path: Path, encoder: Path, own_cache: Path
) -> None:
    fewer = make_index(
        write_rows(tmp_path / "few.jsonl", rows(60)),
        tmp_path / "few",
        encoder={"model": str(encoder)},
        bm25=True,
    )
    shutil.copy(fewer / "faiss.index", copy)
    with pytest.raises(StageFailed, match=r"vector index of the index .* has 60 entries, .* says 300"):
        open_index(copy)
    shutil.copy(index / "faiss.index", copy)
    shutil.copytree(fewer / "bm25", copy / "bm25", dirs_exist_ok=True)
    with pytest.raises(StageFailed, match=r"word index of the index .* has 60"):
        open_index(copy)


def test_another_model_in_the_models_place(copy: Path, tmp_path: Path) -> None:
    shutil.rmtree(copy / "encoder")
    with pytest.raises(StageFailed, match="the model for queries, is missing"):
        open_index(copy)
    make_encoder(copy / "encoder", hidden=64)
    with pytest.raises(StageFailed, match="its hash differs"):
        open_index(copy)
    value = json.loads((copy / manifest.FILE).read_text())
    value["encoder"]["dimension"] = 64
    (copy / manifest.FILE).write_text(json.dumps(value))
    with pytest.raises(StageFailed, match="holds vectors of 32 dimensions, and the manifest says 64"):
        open_index(copy)


def test_no_index(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(Missing, match="is no index: it is not there"):
        open_index(tmp_path / "none")
    with pytest.raises(Missing, match=r"it has no manifest.json of one"):
        open_index(tmp_path)
    path = copy / manifest.FILE
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "version": 99}))
    with pytest.raises(StageFailed, match="of version 99"):
        open_index(copy)
    path.write_text("{")
    with pytest.raises(StageFailed, match="cannot be read"):
        open_index(copy)


def test_the_manifest_comes_back_as_it_was_written(index: Path, tmp_path: Path) -> None:
    made = manifest.read(index)
    manifest.write(tmp_path, made)
    assert manifest.read(tmp_path) == made
    assert made.vectors is not None
    assert made.vectors.recall_at_10 == 1.0
    assert np.isfinite(made.fusion_k)
