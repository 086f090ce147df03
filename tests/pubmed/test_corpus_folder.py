"""A corpus on disk: written in order, read in order, one record found among many."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import Missing, StageFailed
from residency.pubmed.corpus import COLUMNS, Corpus, open_corpus, write_corpus


def row(pmid: int, **values: Any) -> dict[str, Any]:
    return {"pmid": pmid, "title": f"T{pmid}", "abstract": f"About {pmid}.", **values}


def small(folder: Path, pmids: list[int], **options: int) -> Corpus:
    return write_corpus((row(p) for p in pmids), folder / "corpus", part_rows=7, group_rows=3, **options)


def test_every_record_comes_back_in_order(tmp_path: Path) -> None:
    whole = row(
        5,
        sections=[{"label": "METHODS", "category": "METHODS", "text": "We did."}],
        mesh=[{"name": "Humans", "ui": "D006801", "major": False, "qualifiers": []}],
        publication_types=["Journal Article"],
        journal="The Journal",
        journal_abbreviation="J",
        date="1979-06",
        year=1979,
        doi="10.1/x",
        languages=["eng"],
        authors=["Smith JA"],
    )
    made = write_corpus([row(1), whole, row(9)], tmp_path / "corpus", about={"query": "asthma"})
    assert [r["pmid"] for r in made.rows()] == [1, 5, 9]
    assert made.get(5) == whole
    assert set(whole) == set(COLUMNS)
    assert made.get(1)["year"] is None  # type: ignore[index]
    assert made.manifest["query"] == "asthma"
    assert [p["rows"] for p in made.manifest["parts"]] == [3]


@given(st.sets(st.integers(1, 60), min_size=1), st.integers(0, 61))
def test_one_record_is_found_or_not(
    tmp_path_factory: pytest.TempPathFactory, pmids: set[int], asked: int
) -> None:
    made = small(tmp_path_factory.mktemp("corpus"), sorted(pmids))
    found = made.get(asked)
    assert (found is not None) == (asked in pmids)
    if found:
        assert found["title"] == f"T{asked}"
    assert made.pmids() == sorted(pmids)
    assert made.count == len(pmids)


def test_columns_are_chosen(tmp_path: Path) -> None:
    made = small(tmp_path, [1, 2])
    assert list(made.rows(["pmid", "title"])) == [{"pmid": 1, "title": "T1"}, {"pmid": 2, "title": "T2"}]
    with pytest.raises(KeyError, match="titel"):
        list(made.rows(["titel"]))


@pytest.mark.parametrize("pmids", [[2, 1], [1, 1]])
def test_rows_out_of_order_are_refused_and_leave_nothing(tmp_path: Path, pmids: list[int]) -> None:
    with pytest.raises(StageFailed, match="PMID order"):
        small(tmp_path, pmids)
    assert list(tmp_path.iterdir()) == []


def test_no_records_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="0 records"):
        small(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_corpus(tmp_path: Path) -> None:
    small(tmp_path, [1, 2])
    with pytest.raises(StageFailed):
        small(tmp_path, [4, 3])
    assert open_corpus(tmp_path / "corpus").pmids() == [1, 2]


def test_the_same_records_have_the_same_identity(tmp_path: Path) -> None:
    first = small(tmp_path / "a", [1, 2, 3]).identity
    assert small(tmp_path / "b", [1, 2, 3]).identity == first
    assert small(tmp_path / "c", [1, 2, 4]).identity != first


def test_what_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="is not there"):
        open_corpus(tmp_path / "none")
    with pytest.raises(Missing, match="is no corpus"):
        open_corpus(tmp_path)
    small(tmp_path, [1])
    path = tmp_path / "corpus" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 99}))
    with pytest.raises(StageFailed, match="version 99"):
        open_corpus(tmp_path / "corpus")
    path.write_text("{")
    with pytest.raises(StageFailed, match="cannot be read"):
        open_corpus(tmp_path / "corpus")


def test_a_part_that_is_gone_cut_or_broken(tmp_path: Path) -> None:
    made = small(tmp_path, list(range(1, 20)))
    part = made.parts[1].path
    whole = part.read_bytes()
    part.write_bytes(whole[:-10])
    with pytest.raises(StageFailed, match="bytes where"):
        open_corpus(tmp_path / "corpus")
    part.write_bytes(b"x" * len(whole))
    with pytest.raises(StageFailed, match="is not whole"):
        list(open_corpus(tmp_path / "corpus").rows())
    with pytest.raises(StageFailed, match="is not whole"):
        open_corpus(tmp_path / "corpus").get(made.parts[1].first)
    part.unlink()
    with pytest.raises(StageFailed, match="is gone"):
        open_corpus(tmp_path / "corpus")
