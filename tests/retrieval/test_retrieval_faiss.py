from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import RecipeInvalid, StageFailed
from residency.retrieval import faiss_index, recall
from residency.retrieval.shards import Shards

DIMENSION = 16
GB = 10**9


def vectors(count: int, seed: int = 0) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(count, DIMENSION)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def shards_of(folder: Path, values: np.ndarray, size: int = 500, dtype: str = "float32") -> Shards:
    shards = Shards(folder, len(values), DIMENSION, dtype, size)
    for number in shards.begin("test"):
        shards.write(number, values[shards.span(number).start : shards.span(number).stop])
    return shards


def exact(values: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    return np.argsort(-(queries @ values.T), axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize(
    ("count", "dimension", "memory", "type_"),
    [
        (100_000, 384, 8 * GB, "flat"),
        (100_001, 384, 8 * GB, "hnsw"),
        (20_000_000, 768, 80 * GB, "hnsw"),
        (20_000_001, 768, 80 * GB, "ivf_flat"),
        (20_000_000, 768, 62 * GB, "ivf_flat"),
        (900_000, 768, 1 * GB, "sq8"),
        (1_000_001, 768, 1 * GB, "ivf_pq"),
        (100_000, 768, GB // 100, "ivf_pq"),
        (1, 1, 8 * GB, "flat"),
    ],
)
def test_auto_chooses_by_size_and_memory(count: int, dimension: int, memory: int, type_: str) -> None:
    choice = faiss_index.choose(count, dimension, memory)
    assert choice.type == type_
    assert f"{count:,}" in choice.why


def test_settings() -> None:
    assert faiss_index.settings("flat", 10, 16, {}) == {}
    assert faiss_index.settings("hnsw", 10, 16, {"m": 8, "ef_search": None}) == {
        "m": 8,
        "ef_construction": 200,
    }
    assert faiss_index.settings("ivf_flat", 1_000_000, 16, {})["nlist"] == 4000
    assert faiss_index.settings("ivf_flat", 100, 16, {})["nlist"] == 2
    assert faiss_index.settings("ivf_pq", 10_000, 384, {})["pq_m"] == 96
    assert faiss_index.settings("ivf_pq", 10_000, 100, {})["pq_m"] == 25
    with pytest.raises(RecipeInvalid, match="`ivf` is no type"):
        faiss_index.settings("ivf", 10, 16, {})
    with pytest.raises(RecipeInvalid, match=r"index.nlist is 11, and there are 10"):
        faiss_index.settings("ivf_flat", 10, 16, {"nlist": 11})
    with pytest.raises(RecipeInvalid, match=r"index.pq_m is 5, which does not divide"):
        faiss_index.settings("ivf_pq", 1000, 16, {"pq_m": 5})
    with pytest.raises(RecipeInvalid, match="ivf_pq needs 256 documents"):
        faiss_index.settings("ivf_pq", 255, 16, {})


@pytest.mark.parametrize(
    ("type_", "given", "least"),
    [
        ("flat", {}, 1.0),
        ("hnsw", {}, 0.95),
        ("ivf_flat", {}, 0.95),
        ("sq8", {}, 0.9),
        ("ivf_pq", {"pq_m": 4}, 0.3),
        ("ivf_pq", {"pq_m": 8, "refine": True}, 0.9),
    ],
)
def test_every_type_is_built_written_mapped_and_measured(
    tmp_path: Path, type_: str, given: dict[str, Any], least: float
) -> None:
    values, queries = vectors(1500), vectors(40, seed=1)
    shards = shards_of(tmp_path / "v", values)
    params = faiss_index.settings(type_, len(values), DIMENSION, given)
    path = tmp_path / faiss_index.FILE
    told: list[int] = []
    index = faiss_index.build(path, type_, params, shards, lambda _, at: told.append(at), gpu=False)
    assert told[-1] == index.ntotal == 1500
    found, params = recall.reach(index, type_, params, shards, queries, 0.95, 1)
    assert found >= least
    mapped = faiss_index.read(path)
    faiss_index.tune(mapped, params)
    mine, scores = faiss_index.search(mapped, queries, 10, 1)
    assert (mine == faiss_index.search(index, queries, 10, 1)[0]).all()
    assert (np.diff(scores, axis=1) <= 1e-6).all()
    # What is measured is what a count by hand gives, for there are no two vectors alike.
    hits = [len(set(a) & set(b)) for a, b in zip(mine, exact(values, queries, 10), strict=True)]
    assert found == pytest.approx(sum(hits) / 400, abs=0.003)
    everything, _ = faiss_index.search(mapped, queries[:1], 1_000_000, 1)
    assert everything.shape[1] == 1500


def test_a_search_is_made_as_hard_as_the_floor_asks(tmp_path: Path) -> None:
    values, queries = vectors(3000), vectors(50, seed=1)
    shards = shards_of(tmp_path / "v", values)
    params = faiss_index.settings("ivf_flat", 3000, DIMENSION, {"nlist": 70})
    index = faiss_index.build(tmp_path / "i", "ivf_flat", params, shards, lambda *_: None, gpu=False)
    easy = recall.reach(index, "ivf_flat", params, shards, queries, 0.1, 1)
    hard = recall.reach(index, "ivf_flat", params, shards, queries, 0.999, 1)
    assert easy[1]["nprobe"] == 16 < hard[1]["nprobe"] <= 70
    assert easy[0] < hard[0]
    fixed = recall.reach(index, "ivf_flat", {**params, "nprobe": 1}, shards, queries, 0.999, 1)
    assert fixed[1]["nprobe"] == 1
    assert fixed[0] < easy[0]


@given(st.integers(1, 40), st.integers(1, 12))
def test_the_tenth_score_is_that_of_a_sort(
    tmp_path_factory: pytest.TempPathFactory, count: int, k: int
) -> None:
    values, queries = vectors(count, seed=count), vectors(3, seed=99)
    shards = shards_of(tmp_path_factory.mktemp("v"), values, size=7)
    best = np.sort(queries @ values.T, axis=1)[:, ::-1][:, min(k, count) - 1]
    assert recall.tenth(shards, queries, k) == pytest.approx(best, abs=1e-6)


def test_of_equal_documents_either_is_right(tmp_path: Path) -> None:
    values = np.repeat(vectors(4), 10, axis=0)
    shards = shards_of(tmp_path / "v", values, size=16)
    index = faiss_index.build(tmp_path / "i", "flat", {}, shards, lambda *_: None, gpu=False)
    queries = vectors(4)
    assert recall.recall(index, shards, queries, recall.tenth(shards, queries, 5), 1, 5) == 1.0


def test_shards_of_something_else_are_not_taken(tmp_path: Path) -> None:
    values = vectors(1200)
    shards = shards_of(tmp_path, values)
    assert shards.begin("test") == []
    shards.path(1).unlink()
    assert shards.begin("test") == [1]
    assert shards.begin("another model") == [0, 1, 2]


def test_half_precision_halves_the_disk(tmp_path: Path) -> None:
    values = vectors(1000)
    whole = shards_of(tmp_path / "a", values, size=1000)
    half = shards_of(tmp_path / "b", values, size=1000, dtype="float16")
    assert half.path(0).stat().st_size < 0.51 * whole.path(0).stat().st_size
    assert half.read(0) == pytest.approx(values, abs=1e-3)
    assert half.read(0).dtype == np.float32


def test_vectors_that_cannot_be_used(tmp_path: Path) -> None:
    shards = shards_of(tmp_path, vectors(1200))
    with pytest.raises(StageFailed, match=r"vectors and documents disagree: 000002.npy holds 500 × 16"):
        shards.write(2, vectors(500))
    with pytest.raises(StageFailed, match="disagree"):
        shards.write(2, np.zeros((200, 8), dtype=np.float32))
    wrong = vectors(200)
    wrong[3, 4] = np.nan
    with pytest.raises(StageFailed, match="not all numbers"):
        shards.write(2, wrong)
    whole = shards.path(1).read_bytes()
    shards.path(1).write_bytes(whole[:100])
    with pytest.raises(StageFailed, match=r"000001.npy cannot be read"):
        list(shards.all())
    path = tmp_path / "faiss.index"
    with pytest.raises(StageFailed, match="is missing"):
        faiss_index.read(path)
    path.write_bytes(b"no index at all")
    with pytest.raises(StageFailed, match="cannot be read"):
        faiss_index.read(path)
