"""The client ends with the exact set, whatever the server does; it keeps the limit, and the key to itself."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eutils_server import NAMES, Faulty, generated

from residency.errors import Missing, StageFailed
from residency.pubmed.eutils import CAP, replies
from residency.pubmed.eutils.client import TRIES, Client, Unreachable, no_network
from residency.pubmed.eutils.limiter import Limiter
from residency.pubmed.eutils.replies import Refused, Search, Unsound
from residency.pubmed.eutils.slices import HIGHEST_PMID, Slicer
from residency.pubmed.eutils.standin import HEAD, TAIL, Answer, Records, serve
from residency.sources.patience import Patience

QUICK = Patience(tries=TRIES, read=0.6, whole=5, first_wait=0.01, longest_wait=0.05)


@contextmanager
def asking(server: Faulty, folder: Path, **options: object) -> Iterator[Client]:
    options.setdefault("patience", QUICK)
    with serve(server) as url:
        yield Client(folder / "limits", url=url, per_second=400, **options)  # type: ignore[arg-type]


# What it brings


@pytest.mark.parametrize("fault", NAMES)
def test_each_fault_is_got_over(tmp_path: Path, fault: str) -> None:
    server = Faulty(generated(30), silence=0.8)
    with asking(server, tmp_path) as client:
        server.planned = [fault, fault]
        assert sorted(client.search("asthma").ids) == list(range(1, 31))
        server.planned = [fault, fault]
        content, got = client.fetch([3, 4, 5, 6])
        if fault == "fewer":
            assert got == [3, 4]  # `fetch_all` asks for the rest
        else:
            assert got == [3, 4, 5, 6]
            assert content.count(b"<PubmedArticle>") == 4
    assert server.spoilt.count(fault) >= 3
    assert client.retried >= 2


def test_retry_after_is_honoured_by_everybody(tmp_path: Path) -> None:
    server = Faulty(generated(3), planned=["429_retry_after"])
    with asking(server, tmp_path) as client:
        client.search("asthma")
    assert server.times[1] - server.times[0] >= 0.95


def test_a_server_that_never_answers_is_said_and_what_to_do(tmp_path: Path) -> None:
    server = Faulty(generated(3), share=1.0, kinds=("502",))
    with asking(server, tmp_path) as client, pytest.raises(Unreachable) as raised:
        client.search("asthma")
    assert "502" in raised.value.message
    assert "8 attempts" in raised.value.message
    assert "what has arrived is kept" in str(raised.value.hint)


def test_a_server_that_asks_for_an_hour_is_left_alone(tmp_path: Path) -> None:
    class Busy(Faulty):
        def fault(self, program: str, asked: dict[str, str], answer: Answer) -> Answer:
            return Answer(b"", 503, headers={"Retry-After": "3600"})

    with (
        asking(Busy(generated(1)), tmp_path) as client,
        pytest.raises(Missing, match="left alone for 3600 s"),
    ):
        client.search("asthma")
    assert client.requests == 1


def test_a_query_that_is_refused_is_asked_once(tmp_path: Path) -> None:
    server = Faulty(generated(3))
    with asking(server, tmp_path) as client, pytest.raises(Missing, match="Empty term"):
        client.search(" ")
    assert len(server.asked) == 1


def test_the_key_is_sent_and_shown_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "0a1b2c3d4e5f60718293a4b5c6d7e8f90123"
    monkeypatch.setenv("NCBI_API_KEY", key)
    said: list[str] = []
    server = Faulty(generated(3), per_second=0)  # each request is one too many
    few = Patience(tries=2)
    with asking(server, tmp_path, tell=said.append, patience=few) as client, pytest.raises(Missing) as raised:
        client.search("asthma")
    assert {asked["api_key"] for _, asked in server.asked} == {key}
    assert key not in str(raised.value) + str(raised.value.hint) + "".join(said) + repr(client)
    assert said
    for path in tmp_path.rglob("*"):
        assert key not in path.name
        assert not path.is_file() or key not in path.read_text()


def test_a_list_of_no_correct_ids_is_an_answer_without_records(tmp_path: Path) -> None:
    class NoSuchIds(Faulty):
        def fault(self, program: str, asked: dict[str, str], answer: Answer) -> Answer:
            said = b'{"error":"ID list is empty! Possibly it has no correct IDs."}'
            return Answer(said, 400, "application/json")

    with asking(NoSuchIds(generated(1)), tmp_path) as client:
        assert client.fetch([77])[1] == []
        assert client.requests == 1


def test_with_a_mirror_the_network_is_not_asked() -> None:
    refused = no_network("https://eutils.ncbi.nlm.nih.gov/entrez/eutils/", Path("/mirror"))
    assert refused is not None
    assert "eutils.ncbi.nlm.nih.gov" in refused.message
    assert no_network("https://eutils.ncbi.nlm.nih.gov/", None) is None
    assert no_network("http://127.0.0.1:8000/", Path("/mirror")) is None


# Real answers


def test_real_answers_are_read(reference_dir: Path) -> None:
    folder = reference_dir / "pubmed_xml" / "eutils_replies"
    assert replies.pmids((folder / "pubmed1.xml").read_bytes()) == [12091962, 9997]
    assert replies.pmids((folder / "pubmed4.xml").read_bytes()) == [27797938]
    for name in ("esearch1", "epost1", "esummary1", "einfo1"):
        with pytest.raises(Unsound):
            replies.pmids((folder / f"{name}.xml").read_bytes())
    with pytest.raises(Refused, match="Wrong DB name"):
        replies.pmids((folder / "epost2.xml").read_bytes())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"  \n",
        b"{",
        b"[]",
        b"<html>",
        b'{"esearchresult":{}}',
        b'{"esearchresult":{"count":"2","idlist":["1"]}}',
    ],
)
def test_what_is_no_answer_to_a_search(content: bytes) -> None:
    with pytest.raises(Unsound):
        replies.search(content, 0, 20, CAP)


def test_an_answer_cut_anywhere_is_noticed() -> None:
    whole = HEAD + b"\n".join(generated(4).xml.values()) + TAIL
    assert replies.pmids(whole) == [1, 2, 3, 4]
    for end in range(0, len(whole) - 1, 7):
        with pytest.raises(Unsound):
            replies.pmids(whole[:end])


def test_what_pubmed_did_not_understand_is_told() -> None:
    body = {
        "count": "0",
        "idlist": [],
        "errorlist": {"phrasesnotfound": ["abcXYZ"], "fieldsnotfound": ["tib"]},
    }
    found = replies.search(json.dumps({"esearchresult": body}).encode(), 0, 20, CAP)
    assert found.warnings == ("not found: abcXYZ", "no such field: tib")


# The limit


def test_the_limit_is_kept_by_processes_together(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from residency.pubmed.eutils.limiter import Limiter\n"
        f"limit = Limiter(Path({str(tmp_path)!r}), 'host:80', False, 10.0)\n"
        "for _ in range(8): limit.wait(); print(time.time())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    times = sorted(float(line) for process in running for line in process.communicate(timeout=60)[0].split())
    assert len(times) == 24
    for i in range(len(times) - 11):
        assert times[i + 11] - times[i] >= 0.99, "eleven requests within a second"
    assert times[-1] - times[0] < 23 * 0.105 + 2


def test_the_server_sees_no_more_than_it_allows(tmp_path: Path) -> None:
    server = Faulty(generated(3), per_second=3)
    with serve(server) as url:
        client = Client(tmp_path, url=url)
        for _ in range(7):
            client.search("asthma")
    assert client.retried == 0


def test_a_slot_under_another_clock_does_not_count(tmp_path: Path) -> None:
    slept: list[float] = []
    limiter = Limiter(tmp_path, "h", False, 100.0, sleep=slept.append)
    limiter.path.write_text(json.dumps({"next": time.time() + 10**6, "held": 0}))
    limiter.wait()
    limiter.path.write_text("not JSON")
    limiter.wait()
    assert sum(slept) < 1


# Results of more than 9,999 records


class Pretend:
    """A PubMed of PMIDs and days alone."""

    def __init__(self, entered: dict[int, datetime.date], wrong: int = 0) -> None:
        self.entered = entered
        self.searches: list[tuple[str, object]] = []
        self.wrong = wrong

    def search(
        self, term: str, *, retstart: int = 0, retmax: int = CAP, sort: str = "", window=None
    ) -> Search:  # type: ignore[no-untyped-def]
        self.searches.append((term, window))
        low, high = 1, HIGHEST_PMID
        if "[uid]" in term:
            low, high = (int(text) for text in term.rpartition(" AND ")[2].removesuffix("[uid]").split(":"))
        first, last = (datetime.date(*map(int, day.split("/"))) for day in window)
        ids = sorted(
            (p for p, day in self.entered.items() if first <= day <= last and low <= p <= high), reverse=True
        )
        count = len(ids)
        if self.wrong and count > retmax and len(self.searches) > 1:
            self.wrong -= 1
            return Search(count + 1, tuple(ids[:retmax]))
        return Search(count, tuple(ids[:retmax]))


DAY = datetime.date(2011, 1, 1)


def entered(n: int, days: int) -> dict[int, datetime.date]:
    return {1000 + 3 * i: DAY + datetime.timedelta(days=i % days) for i in range(n)}


@pytest.mark.parametrize("days", [1, 2, 400])
@pytest.mark.parametrize("n", [1, 50, 51, 1234])
def test_slices_bring_every_record_once(tmp_path: Path, n: int, days: int) -> None:
    server = Pretend(entered(n, days))
    ids = list(Slicer(server, "q OR r", tmp_path, cap=50).ids())
    assert sorted(ids) == sorted(server.entered)
    assert len(ids) == len(set(ids))
    assert all(term.startswith("(q OR r) AND ") for term, _ in server.searches if "[uid]" in term)


def test_the_newest_come_first_and_no_more_is_asked_than_needed(tmp_path: Path) -> None:
    server = Pretend(entered(2000, 400))
    walk = Slicer(server, "q", tmp_path, cap=50).ids()
    first = [server.entered[next(walk)] for _ in range(40)]
    assert min(first) >= sorted(server.entered.values())[-100]
    assert len(server.searches) < 40


def test_counts_that_do_not_add_up_are_asked_for_again(tmp_path: Path) -> None:
    server = Pretend(entered(300, 30), wrong=1)
    assert sorted(Slicer(server, "q", tmp_path, cap=50).ids()) == sorted(server.entered)
    server = Pretend(entered(300, 30), wrong=10**6)
    with pytest.raises(StageFailed, match="do not add up"):
        list(Slicer(server, "q", tmp_path / "b", cap=50).ids())


def test_a_search_goes_on_where_it_stopped(tmp_path: Path) -> None:
    server = Pretend(entered(1234, 100))
    list(Slicer(server, "q", tmp_path, cap=50).ids())
    needed = len(server.searches)
    lines = (tmp_path / "searches.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "searches.jsonl").write_text("".join(lines[: needed // 2]) + lines[needed // 2][:30])
    server.searches.clear()
    assert sorted(Slicer(server, "q", tmp_path, cap=50).ids()) == sorted(server.entered)
    assert len(server.searches) == needed - needed // 2
    server.searches.clear()
    list(Slicer(server, "another", tmp_path, cap=50).ids())
    assert len(server.searches) == needed


def test_more_than_the_cap_on_the_stand_in(tmp_path: Path) -> None:
    """PubMed's own limit, its message and its silent cut, as the stand-in has them."""
    records = generated(10_050, day="2011/01/01")
    with asking(Faulty(records), tmp_path) as client:
        found = client.search("asthma")
        assert (found.count, len(found.ids)) == (10_050, 9_999)
        assert len(client.search("asthma", retstart=9_998, retmax=100).ids) == 1
        with pytest.raises(Missing, match="cannot be larger than 9998"):
            client.search("asthma", retstart=9_999)
        assert sorted(Slicer(client, "asthma", tmp_path / "s").ids()) == list(range(1, 10_051))


def test_the_stand_in_over_real_records(reference_dir: Path, tmp_path: Path) -> None:
    records = Records.of([reference_dir / "pubmed_xml" / "pubmed21n1298_slice500.xml.gz"])
    server = Faulty(records)
    with asking(server, tmp_path) as client:
        everything = client.search("all[sb]")
        assert everything.count == len(records.xml) == 500
        english = client.search("english[la]")
        assert client.search("all[sb] NOT english[la]").count == 500 - english.count
        _, got = client.fetch(everything.ids[:200])
        assert sorted(got) == sorted(everything.ids[:200])
        trial = client.search('"randomized controlled trial"[pt] OR review[pt] AND 2020:2021[dp]').count
        assert 0 < trial < 500
        history = client.ask(
            "esearch", {"term": "all[sb]", "usehistory": "y", "retmode": "json", "retmax": 0}, json.loads
        )["esearchresult"]
        page = {"WebEnv": history["webenv"], "query_key": history["querykey"], "retmode": "xml"}
        got = client.ask("efetch", {**page, "retstart": 490, "retmax": 100}, replies.pmids)
        assert tuple(got) == everything.ids[490:]
