from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.benchmark.citations import Answer, among, answers, named, score, searched
from residency.retrieval.boolean.engine import Found, SearchUnavailable


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("as shown (PMID: 12345678).", [12345678]),
        ("PMID 123", [123]),
        ("pmid:12345678", [12345678]),
        ("[PMID12345678]", [12345678]),
        ("PMIDs: 1234567, 2345678 and 3456789.", [1234567, 2345678, 3456789]),
        ("PMID: 1234567; PMID: 2345678", [1234567, 2345678]),
        ("PubMed ID 12345678", [12345678]),
        ("PubMed ID: #12345678", [12345678]),
        ("PMID number 12345678", [12345678]),
        ("https://pubmed.ncbi.nlm.nih.gov/12345678/", [12345678]),
        ("http://www.ncbi.nlm.nih.gov/pubmed/12345678.", [12345678]),
        ("[12345678]", [12345678]),
        ("[1234567, 2345678]", [1234567, 2345678]),
        ("PMID: 12345678, 2019", [12345678]),
        ("PMID: 12345678 (2019), [1], [2]", [12345678]),
        ("PMID: 5 and again PMID 5", [5]),
        ("PMC1234567, PMCID: PMC7654321, NCT01234567, doi 10.1000/12345678", []),
        ("12345678 people", []),
        ("[1], [12], [2019]", []),
        ("PMID: unknown", []),
        ("PMID: 1234567890123", []),
        ("PMID: 12345.5", []),
        ("", []),
    ],
)
def test_forms(text: str, found: list[int]) -> None:
    assert named(text) == found


@given(
    st.lists(st.integers(10_000, 99_999_999), min_size=1, max_size=6, unique=True),
    st.sampled_from([", ", "; ", " and ", ", and "]),
)
def test_lists_are_read_whole(numbers: list[int], between: str) -> None:
    assert named("See PMIDs " + between.join(map(str, numbers)) + ".") == numbers


@given(st.text(max_size=300))
def test_any_text(text: str) -> None:
    assert all(0 < one < 1_000_000_000 for one in named(text))


def test_long_texts_take_no_longer_than_their_length() -> None:
    began = time.monotonic()
    for piece in ("PMID: ", "PMID:1, ", "[1234567,", "pubmed.gov/", "PubMed ", "12345678 and "):
        named(piece * 20_000)
    assert time.monotonic() - began < 5


def test_shares_are_of_pmids_and_nothing_cited_is_no_score() -> None:
    given_ = [
        Answer("a", "PMID: 11111111 and PMID: 22222222", (11111111,)),
        Answer("b", "PMID: 33333333", (44444444,)),
        Answer("c", "I do not know.", (11111111,)),
    ]
    found = score(given_, among({11111111, 33333333}))
    figures = {one.name: one for one in found.figures}
    assert (figures["cites"].value, figures["cites"].n) == (pytest.approx(2 / 3), 3)
    assert (figures["pmids_exist"].value, figures["pmids_exist"].n) == (pytest.approx(2 / 3), 2)
    assert (figures["pmids_retrieved"].value, figures["pmids_retrieved"].n) == (pytest.approx(1 / 3), 2)
    assert found.problems.to_json()[0]["where"] == ["a: 22222222"]
    silent = {one.name: one for one in score(given_[2:], among({1})).figures}
    assert (silent["pmids_exist"].value, silent["pmids_exist"].n) == (None, 0)
    assert silent["cites"].value == 0.0


class Index:
    """A search that knows three PMIDs, and fails for the first batch when told to."""

    def __init__(self, fails: int = 0) -> None:
        self.fails = fails

    def search(self, query: str, *, retmax: int = 100, **_: object) -> Found:
        if self.fails:
            self.fails -= 1
            raise SearchUnavailable("down")
        asked: Sequence[str] = [word.removesuffix("[pmid]") for word in query.split(" OR ")]
        there = tuple(one for one in asked if one in {"11111111", "22222222", "33333333"})
        return Found(len(there), there, query)


def test_existence_by_search() -> None:
    look = searched(Index(), batch=2)  # type: ignore[arg-type]
    assert look([11111111, 5, 33333333]) == {11111111: True, 5: False, 33333333: True}


def test_a_look_up_that_fails_is_not_counted_against_the_answer() -> None:
    given_ = [Answer("a", "PMID: 11111111"), Answer("b", "PMID: 99999999")]
    found = score(given_, searched(Index(fails=1), batch=1))  # type: ignore[arg-type]
    figures = {one.name: one for one in found.figures}
    assert (figures["pmids_exist"].value, figures["pmids_exist"].n) == (0.0, 1)
    assert found.problems.counts["a PMID that could not be looked up; left out"] == 1
    assert "pmids_retrieved" not in figures


def test_rows_of_samples() -> None:
    rows = [
        {"id": "a", "output": "PMID: 1", "prompt": "Evidence (PMID: 1) says so."},
        {"output": None, "answer": "x", "evidence": ["2", 3, "y"]},
        {"id": 7, "prompt": "no evidence"},
    ]
    assert answers(rows) == [Answer("a", "PMID: 1", (1,)), Answer("2", "x", (2, 3)), Answer("7", "")]
