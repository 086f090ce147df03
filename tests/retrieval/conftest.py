"""An encoder, documents, and an index of both vectors and words."""

from __future__ import annotations

from pathlib import Path

import pytest
from retrieval_case import make_encoder, make_index, rows, write_rows

COUNT = 300


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("corpus") / "rows.jsonl", rows(COUNT))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESIDENCY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def index(encoder: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both kinds, to be read and not changed."""
    folder = tmp_path_factory.mktemp("index")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESIDENCY_CACHE", str(folder / "cache"))
        return make_index(corpus, folder, encoder={"model": str(encoder), "dtype": "float32"}, bm25=True)
