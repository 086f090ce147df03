"""The live engine against a server on this machine: the same interface, two kinds of failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from residency.pubmed.eutils.standin import Answer, Records, StandIn, serve
from residency.retrieval.boolean.engine import QueryRejected, SearchUnavailable, StudySearch
from residency.retrieval.boolean.live import LiveSearch
from residency.sources.patience import Patience

QUICK = Patience(connect=1, read=1, whole=2, tries=2, first_wait=0.01, longest_wait=0.02, longest_asked=1)


@dataclass
class Planned(StandIn):
    """A server whose next answers are given."""

    planned: list[Answer | None] = field(default_factory=list)

    def fault(self, program: str, asked: dict[str, str], answer: Answer) -> Answer | None:
        return self.planned.pop(0) if self.planned else answer


@pytest.fixture(scope="module")
def records(reference: Path) -> Records:
    return Records.of([reference / "pubmed_xml/pubmed21n1298_slice500.xml.gz"])


@pytest.fixture
def server(records: Records) -> Planned:
    return Planned(records)


@pytest.fixture
def live(server: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveSearch]:
    monkeypatch.delenv("RESIDENCY_MIRROR", raising=False)
    monkeypatch.delenv("NCBI_API_KEY", raising=False)
    with serve(server) as url:
        yield LiveSearch(url=url, limits=tmp_path / "limits", patience=QUICK, per_second=500)


def test_finds(live: LiveSearch, server: Planned) -> None:
    search: StudySearch = live
    found = search.search("cancer[tiab]", retmax=5)
    assert found.count > 5
    assert len(found.pmids) == 5
    assert all(isinstance(pmid, str) and int(pmid) in server.records.entries for pmid in found.pmids)
    program, asked = server.asked[-1]
    assert program == "esearch"
    assert {k: asked[k] for k in ("db", "term", "retmax", "sort", "retmode")} == {
        "db": "pubmed",
        "term": "cancer[tiab]",
        "retmax": "5",
        "sort": "relevance",
        "retmode": "json",
    }
    assert "api_key" not in asked


def test_dates_order_and_count(live: LiveSearch, server: Planned) -> None:
    everything = live.search("cancer[tiab]", retmax=0)
    some = live.search("cancer[tiab]", retmax=0, sort="date", mindate="2021/05", maxdate="2021")
    assert 0 <= some.count <= everything.count
    assert some.pmids == ()
    asked = server.asked[-1][1]
    assert asked["datetype"] == "pdat"
    assert (asked["mindate"], asked["maxdate"], asked["sort"]) == ("2021/05", "2021", "pub_date")


def test_a_long_query_goes_whole(server: Planned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NCBI_API_KEY", raising=False)
    query = " OR ".join(f"{number}[uid]" for number in range(30_000_000, 30_000_600))
    patience = replace(QUICK, read=60, whole=120)  # the stand-in needs its time for it on a busy machine
    with serve(server) as url:
        LiveSearch(url=url, limits=tmp_path / "limits", patience=patience, per_second=500).search(query)
    assert server.asked[-1][1]["term"] == query


def test_what_is_not_found_is_a_warning(live: LiveSearch) -> None:
    found = live.search("xyzzyplugh[tiab]")
    assert found.count == 0
    assert any("xyzzyplugh" in warning for warning in found.warnings)


def test_a_wrong_query_costs_no_request(live: LiveSearch, server: Planned) -> None:
    with pytest.raises(QueryRejected, match="never closed") as caught:
        live.search("(cancer")
    assert caught.value.position == 0
    assert server.asked == []


def said(error: str) -> Answer:
    body = json.dumps({"header": {}, "esearchresult": {"ERROR": error}})
    return Answer(body.encode(), 200, "application/json")


def test_what_pubmed_rejects_is_the_querys_fault(live: LiveSearch, server: Planned) -> None:
    server.planned = [said("Invalid query")]
    with pytest.raises(QueryRejected, match="PubMed says: Invalid query"):
        live.search("cancer")
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Answer(b"<html>Bad Gateway</html>", 502, "text/html"),
        Answer(b"", 200),
        Answer(b'{"esearchresult": {"count": "3"', 200, "application/json"),
        Answer(b"[1]", 200, "application/json"),
        said("Search Backend failed: the term server is down"),
        None,
    ],
)
def test_a_failed_look_up_is_no_fault_of_the_query(
    fault: Answer | None, live: LiveSearch, server: Planned
) -> None:
    server.planned = [fault, fault]
    with pytest.raises(SearchUnavailable):
        live.search("cancer[tiab]")
    assert len(server.asked) == 2
    # And once it is over, all is well.
    assert live.search("cancer[tiab]").count > 0


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RESIDENCY_MIRROR", raising=False)
    search = LiveSearch(url="http://127.0.0.1:9/", limits=tmp_path, patience=QUICK, per_second=500)
    with pytest.raises(SearchUnavailable):
        search.search("cancer")


def test_with_a_mirror_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_MIRROR", str(tmp_path))
    search = LiveSearch(url="https://eutils.ncbi.nlm.nih.gov/entrez/eutils/", limits=tmp_path)
    with pytest.raises(SearchUnavailable, match="mirror"):
        search.search("cancer")


def test_the_same_arguments_are_wrong_everywhere(live: LiveSearch) -> None:
    with pytest.raises(ValueError, match="retmax"):
        live.search("cancer", retmax=-1)
    with pytest.raises(ValueError, match="sort"):
        live.search("cancer", sort="author")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mindate"):
        live.search("cancer", mindate="last year")
