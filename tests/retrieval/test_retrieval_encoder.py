from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from retrieval_case import make_encoder, rows

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.retrieval import models
from residency.retrieval.encoder import TextEncoder, batches, pool
from residency.retrieval.manifest import Encoder

SPEC = Encoder("x", "y", max_passage_length=48, max_query_length=48, dtype="float32")
TEXTS = [(row["title"], row["text"]) for row in rows(30)]


@given(st.lists(st.integers(1, 40), max_size=60), st.integers(1, 120))
def test_batches_hold_so_many_tokens_and_every_text_once(lengths: list[int], tokens: int) -> None:
    order = sorted(range(len(lengths)), key=lambda at: -lengths[at])
    made = batches(order, lengths, tokens)
    assert [at for batch in made for at in batch] == order
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[at] for at in batch) <= tokens


def test_poolings() -> None:
    import torch

    hidden = torch.arange(12, dtype=torch.float32).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    assert pool(hidden, mask, "mean").tolist() == [[1.0, 2.0], [8.0, 9.0]]
    assert pool(hidden, mask, "cls").tolist() == [[0.0, 1.0], [6.0, 7.0]]
    assert pool(hidden, mask, "last").tolist() == [[2.0, 3.0], [10.0, 11.0]]
    with pytest.raises(RecipeInvalid, match="`max` is no pooling"):
        pool(hidden, mask, "max")


def test_the_vector_of_a_text_does_not_depend_on_its_neighbours(encoder: Path) -> None:
    many = TextEncoder(encoder, SPEC, batch_tokens=200)
    texts = [*TEXTS, ("", "x"), ("one " * 60, "long"), ("", "")]
    together = many.passages(texts)
    assert together.shape == (33, 32)
    assert together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    for at in (0, 7, 30, 31, 32):
        assert many.passages([texts[at]])[0] == pytest.approx(together[at], abs=1e-5)
    assert many.queries([]).shape == (0, 0)


def test_batches_at_once_give_the_same_vectors(encoder: Path) -> None:
    import torch

    threads = torch.get_num_threads()
    try:
        alone = TextEncoder(encoder, SPEC, threads=1)
        several = TextEncoder(encoder, SPEC, threads=4, batch_tokens=70)
        for count in (1, 2, 30):
            told: list[int] = []
            found = several.passages(TEXTS[:count], told.append)
            assert found == pytest.approx(alone.passages(TEXTS[:count]), abs=1e-5)
            assert sum(told) == count
        assert len(told) > 4
        queries = [title for title, _ in TEXTS]
        assert several.queries(queries) == pytest.approx(alone.queries(queries), abs=1e-5)
    finally:
        torch.set_num_threads(threads)


def test_prefixes_lengths_and_pairs_count(encoder: Path) -> None:
    plain = TextEncoder(encoder, SPEC)
    query = "statins and muscle pain"
    with_prefix = TextEncoder(encoder, replace(SPEC, query_prefix="aspirin "))
    assert with_prefix.queries([query]) == pytest.approx(plain.queries([f"aspirin {query}"]), abs=1e-6)
    short = TextEncoder(encoder, replace(SPEC, max_query_length=4))
    assert short.queries([query]) == pytest.approx(short.queries(["statins and children"]), abs=1e-6)
    pair = TextEncoder(encoder, replace(SPEC, pair=True))
    assert np.abs(pair.passages(TEXTS[:1]) - plain.passages(TEXTS[:1])).max() > 1e-3
    raw = TextEncoder(encoder, replace(SPEC, normalize=False)).queries([query])
    assert raw / np.linalg.norm(raw) == pytest.approx(plain.queries([query]), abs=1e-5)


def test_a_damaged_model_is_not_taken_for_one_that_works(encoder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import BertModel

    folder = tmp_path / "broken"
    shutil.copytree(encoder, folder)
    model = BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.encoder.layer[0].output.dense.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(StageFailed, match=r"not all numbers \(NaN or infinite\)"):
        TextEncoder(folder, SPEC)


def test_another_model_is_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="makes vectors of 32 dimensions, and the index has 64"):
        TextEncoder(encoder, replace(SPEC, dimension=64))
    with pytest.raises(StageFailed, match="holds no model that transformers can load"):
        TextEncoder(tmp_path, SPEC)
    with pytest.raises(Missing, match="no GPU"):
        TextEncoder(encoder, SPEC, device="cuda:7")


def test_what_a_models_files_say(encoder: Path, tmp_path: Path) -> None:
    assert models.says(encoder) == models.Says(max_length=64)
    said = models.says(make_encoder(tmp_path / "st", layers=True))
    assert (said.pooling, said.normalize, said.max_length) == ("mean", True, 48)
    assert (said.query_prefix, said.passage_prefix) == ("find: ", "text: ")
    pooling = tmp_path / "st" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}))
    assert models.says(tmp_path / "st").pooling == "model"
    pooling.write_text(json.dumps({"pooling_mode": "lasttoken"}))
    assert models.says(tmp_path / "st").pooling == "last"


def test_a_model_is_found_in_what_was_unpacked(encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(encoder, tmp_path / "package" / "model")
    assert models.find(tmp_path) == tmp_path / "package" / "model"
    shutil.copytree(encoder, tmp_path / "package" / "other")
    with pytest.raises(StageFailed, match="holds several models: package/model, package/other"):
        models.find(tmp_path)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(StageFailed, match="holds no model"):
        models.find(tmp_path / "nothing")


def test_the_hash_is_of_what_makes_the_vectors(encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    models.copy(encoder, folder)
    before = models.sha256(folder)
    assert before == models.sha256(encoder)
    (folder / "README.md").write_text("read me")
    assert models.sha256(folder) == before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    assert models.sha256(folder) != before
    (folder / "model.safetensors").unlink()
    with pytest.raises(StageFailed, match="holds no weights"):
        models.sha256(folder)


@pytest.mark.slow
def test_the_vectors_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = make_encoder(tmp_path / "st", layers=True)
    texts = [f"{title}\n{text}" for title, text in TEXTS]
    theirs = SentenceTransformer(str(folder), device="cpu").encode(texts, prompt="text: ")
    for pooling in ("mean", "model"):
        spec = replace(SPEC, pooling=pooling, passage_prefix="text: ")
        assert TextEncoder(folder, spec).passages(TEXTS) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("order", [("torch", "faiss"), ("faiss", "torch")])
def test_faiss_and_torch_live_in_one_process(order: tuple[str, str], index: Path) -> None:
    """Each brings an OpenMP of its own; both are used from several threads, whichever came first."""
    code = (
        f"import {order[0]}, {order[1]}\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from pathlib import Path\n"
        "from residency.retrieval.searcher import open_index\n"
        f"searcher = open_index(Path({str(index)!r}), threads=2)\n"
        "with ThreadPoolExecutor(4) as pool:\n"
        "    found = list(pool.map(lambda n: searcher.search([f'statins {n}'] * 5, 3), range(20)))\n"
        "print(sum(len(hits) for batch in found for hits in batch))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "300"), done.stderr[-2000:]
