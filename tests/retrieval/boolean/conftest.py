"""Indexes over the records of reviews, made once."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from boolean_naive import SUBTREES, Row, cohen

from residency.retrieval.boolean.build import build
from residency.retrieval.boolean.local import LocalSearch

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def reference() -> Path:
    path = Path(os.environ.get("RESIDENCY_REFERENCE") or PROJECT.parent / "shared/reference")
    if not path.is_dir():
        pytest.skip(f"{path} is not there; set RESIDENCY_REFERENCE to run this test")
    return path


@pytest.fixture(scope="session")
def mesh_file(reference: Path) -> Path:
    return reference / "mesh/mesh_terms.txt.gz"


@pytest.fixture(scope="session")
def small_mesh(mesh_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parts of MeSH that the tests use, so that an index is made in a second."""
    path = tmp_path_factory.mktemp("mesh") / "mesh.txt"
    with gzip.open(mesh_file, "rt", encoding="utf-8") as stream:
        path.write_text("".join(line for line in stream if line.startswith(SUBTREES)), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def topic(
    reference: Path, small_mesh: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[list[Row], LocalSearch]]:
    """The records of a review, and a search over them."""

    @cache
    def made(name: str) -> tuple[list[Row], LocalSearch]:
        rows = cohen(reference, name)
        folder = tmp_path_factory.mktemp("index") / name
        build(rows, folder, small_mesh)
        return rows, LocalSearch.open(folder)

    return made
