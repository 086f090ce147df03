"""A small E-utilities server on this machine, over a few local records.

A smoke run of a recipe with a PubMed query asks it instead of NCBI, so that the same code runs (search,
slices, batches, the store) without the network; tests add faults to it. It speaks esearch, efetch,
esummary and epost, with the history server, dates, PMID ranges, PubMed's limit of 9,999 records and the
limit of requests a second. Of a query it understands AND, OR, NOT in PubMed's order, brackets, words,
phrases, `*`, and the fields ti, tiab, mh, pt, la, dp, edat and uid; it maps no terms.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from lxml import etree

from residency.pubmed.blocks import trees
from residency.pubmed.eutils import CAP
from residency.pubmed.eutils.standin_query import Entry, matches
from residency.pubmed.reader import MONTHS

_TOO_FAR = (
    "Search Backend failed: Exception:\n'retstart' cannot be larger than 9998. For PubMed, ESearch can only "
    "retrieve the first 9,999 records matching the query. To obtain more than 9,999 PubMed records, consider "
    "using EDirect that contains additional logic to batch PubMed search results automatically so that an "
    "arbitrary number can be retrieved."
)
HEAD = (
    b'<?xml version="1.0" ?>\n<!DOCTYPE PubmedArticleSet PUBLIC "-//NLM//DTD PubMedArticle, 1st January '
    b'2025//EN" "https://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">\n<PubmedArticleSet>\n'
)
TAIL = b"\n</PubmedArticleSet>"


@dataclass
class Answer:
    """What the server sends."""

    body: bytes
    status: int = 200
    kind: str = "text/xml; charset=UTF-8"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Records:
    """The records of the server, by PMID."""

    xml: dict[int, bytes] = field(default_factory=dict)
    entries: dict[int, Entry] = field(default_factory=dict)

    @classmethod
    def of(cls, files: list[Path], limit: int | None = None) -> Records:
        """The first `limit` records of PubMed files."""
        found = cls()
        for path in files:
            for tree in trees(path):
                for record in tree:
                    if limit is not None and len(found.xml) >= limit:
                        return found
                    if record.tag == "PubmedArticle":
                        found.add(etree.tostring(record, encoding="utf-8", with_tail=False), record)
        return found

    def add(self, xml: bytes, record: Any = None) -> None:
        """Add a record, given as its XML (and its tree, where there is one)."""
        record = etree.fromstring(xml) if record is None else record
        pmid = int(record.findtext("MedlineCitation/PMID"))
        self.xml[pmid] = xml
        published = record.find("MedlineCitation/Article/Journal/JournalIssue/PubDate")
        entered = record.find("PubmedData/History/PubMedPubDate[@PubStatus='entrez']")
        published_on = _day(published)
        self.entries[pmid] = Entry(
            pmid=pmid,
            published=published_on,
            entered=_day(entered) if entered is not None else published_on,
            title=_text(record.find(".//ArticleTitle")),
            abstract=" ".join(_text(part) for part in record.iterfind(".//Abstract/AbstractText")),
            mesh=tuple(_text(e).lower() for e in record.iterfind(".//MeshHeading/DescriptorName")),
            types=tuple(_text(e).lower() for e in record.iterfind(".//PublicationType")),
            languages=tuple(_text(e).lower() for e in record.iterfind(".//Article/Language")),
        )

    def search(self, term: str, start: str, end: str, kind: str) -> list[int]:
        """The PMIDs of a query, those entered last first."""
        first, last = _bound(start, first=True), _bound(end, first=False)
        found = []
        for entry in self.entries.values():
            day = entry.published if kind == "pdat" else entry.entered
            if first <= day <= last and matches(term, entry):
                found.append(entry)
        return [e.pmid for e in sorted(found, key=lambda e: (e.entered, e.pmid), reverse=True)]


def _text(element: Any) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _day(element: Any) -> datetime.date:
    """A date element; the first of what is not given."""
    try:
        year = int(element.findtext("Year") or (element.findtext("MedlineDate") or "")[:4])
        month = (element.findtext("Month") or "1").strip()
        number = int(MONTHS.get(month[:3].lower(), month))
        return datetime.date(year, number, int(element.findtext("Day") or 1))
    except (ValueError, TypeError, AttributeError):
        return datetime.date(1900, 1, 1)


def _bound(text: str, *, first: bool) -> datetime.date:
    """A day as ESearch takes it: YYYY, YYYY/MM or YYYY/MM/DD."""
    if not text:
        return datetime.date.min if first else datetime.date.max
    parts = [int(p) for p in text.split("/")]
    year, month, day = (*parts, *([1, 1] if first else [12, 31]))[:3] if len(parts) < 3 else parts
    if len(parts) == 2:
        day = 1 if first else 31
    while True:
        try:
            return datetime.date(year, month, day)
        except ValueError:
            day -= 1


@dataclass
class StandIn:
    """What the server knows, and what it was asked for. `fault` is for tests."""

    records: Records
    per_second: float | None = None
    """Requests a second without a key (ten with one are three times as many); None: no limit."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """(program, parameters) of every request."""
    given: dict[int, int] = field(default_factory=dict)
    """PMID → how often it was sent in a sound answer of EFetch."""
    times: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    _history: dict[str, list[list[int]]] = field(default_factory=dict)
    _recent: deque[float] = field(default_factory=deque)

    def fault(self, program: str, asked: dict[str, str], answer: Answer) -> Answer | None:
        """What is sent instead of a sound answer; None to send nothing and hang up."""
        return answer

    def answer(self, program: str, asked: dict[str, str]) -> Answer | None:
        """The answer to one request."""
        with self.lock:
            self.asked.append((program, asked))
            self.times.append(time.monotonic())
            if self._too_many("api_key" in asked):
                body = {"error": "API rate limit exceeded", "api-key": asked.get("api_key", "127.0.0.1")}
                return _json(body, 429, {"Retry-After": "1"})
        known = {"esearch": self._esearch, "efetch": self._efetch}
        known |= {"esummary": self._esummary, "epost": self._epost}
        if program not in known:
            return Answer(b"<html><body>404 Not Found</body></html>", 404, "text/html")
        sound = known[program](asked)
        sent = self.fault(program, asked, sound)
        if program == "efetch" and sent is sound and sound.status == 200:
            with self.lock:
                for pmid in self._chosen(asked):
                    if pmid in self.records.xml:
                        self.given[pmid] = self.given.get(pmid, 0) + 1
        return sent

    def _too_many(self, keyed: bool) -> bool:
        if self.per_second is None:
            return False
        now = time.monotonic()
        while self._recent and self._recent[0] <= now - 1:
            self._recent.popleft()
        self._recent.append(now)
        return len(self._recent) > self.per_second * (10 / 3 if keyed else 1)

    def _esearch(self, asked: dict[str, str]) -> Answer:
        start, most = int(asked.get("retstart", 0)), int(asked.get("retmax", 20))
        as_json = asked.get("retmode") == "json"
        term = asked.get("term", "")
        if not term.strip():
            return _search_error("Empty term and query_key - nothing todo", as_json)
        if start > CAP - 1:
            return _search_error(_TOO_FAR, as_json)
        found = self.records.search(
            term, asked.get("mindate", ""), asked.get("maxdate", ""), asked.get("datetype", "edat")
        )
        ids = found[start : min(start + most, CAP)]
        result: dict[str, Any] = {"count": str(len(found)), "retmax": str(len(ids)), "retstart": str(start)}
        if asked.get("usehistory") == "y":
            web, key = self._remember(found[:CAP], asked.get("WebEnv"))
            result |= {"querykey": str(key), "webenv": web}
        result |= {"idlist": [str(i) for i in ids], "translationset": [], "querytranslation": term}
        if start + most > CAP and len(found) > CAP:
            said = f"Restrictions achieved. start and count adjusted to {start}, {len(ids)}"
            result["warninglist"] = {
                "phrasesignored": [],
                "quotedphrasesnotfound": [],
                "outputmessages": [said],
            }
        if not found:
            result["errorlist"] = {"phrasesnotfound": [term], "fieldsnotfound": []}
            result["warninglist"] = {"outputmessages": ["No items found."]}
        if as_json:
            return _json({"header": {"type": "esearch", "version": "0.3"}, "esearchresult": result})
        listed = "".join(f"<Id>{i}</Id>\n" for i in ids)
        history = (
            f"<QueryKey>{result['querykey']}</QueryKey><WebEnv>{result['webenv']}</WebEnv>"
            if "webenv" in result
            else ""
        )
        return Answer(
            f'<?xml version="1.0" encoding="UTF-8" ?>\n<eSearchResult><Count>{len(found)}</Count>'
            f"<RetMax>{len(ids)}</RetMax><RetStart>{start}</RetStart>{history}<IdList>\n{listed}</IdList>"
            f"<QueryTranslation>{escape(term)}</QueryTranslation></eSearchResult>\n".encode()
        )

    def _efetch(self, asked: dict[str, str]) -> Answer:
        if "WebEnv" in asked and int(asked.get("retstart", 0)) > CAP - 1:
            return Answer(f"<eFetchResult><ERROR>{escape(_TOO_FAR)}</ERROR></eFetchResult>".encode(), 400)
        chosen = self._chosen(asked)
        if not chosen:
            said = (
                "Cannot retrieve history data"
                if "WebEnv" in asked
                else "ID list is empty! Possibly it has no correct IDs."
            )
            return Answer(f"<eFetchResult><ERROR>{said}</ERROR></eFetchResult>".encode(), 400)
        found = [self.records.xml[pmid] for pmid in chosen if pmid in self.records.xml]
        return Answer(HEAD + b"\n".join(found) + TAIL)

    def _esummary(self, asked: dict[str, str]) -> Answer:
        chosen = [pmid for pmid in self._chosen(asked) if pmid in self.records.entries]
        if asked.get("retmode") == "json":
            about = {str(p): {"uid": str(p), "title": self.records.entries[p].title} for p in chosen}
            return _json(
                {"header": {"type": "esummary"}, "result": {"uids": [str(p) for p in chosen], **about}}
            )
        titles = {p: escape(self.records.entries[p].title) for p in chosen}
        sums = "".join(
            f'<DocSum><Id>{p}</Id><Item Name="Title" Type="String">{title}</Item></DocSum>\n'
            for p, title in titles.items()
        )
        return Answer(
            f'<?xml version="1.0" encoding="UTF-8" ?>\n<eSummaryResult>{sums}</eSummaryResult>'.encode()
        )

    def _epost(self, asked: dict[str, str]) -> Answer:
        ids = _ids(asked.get("id", ""))
        if not ids:
            return Answer(b"<ePostResult><ERROR>No IDs</ERROR></ePostResult>", 400)
        web, key = self._remember(ids, asked.get("WebEnv"))
        return Answer(
            f'<?xml version="1.0" encoding="UTF-8" ?>\n<ePostResult><QueryKey>{key}</QueryKey>'
            f"<WebEnv>{web}</WebEnv></ePostResult>".encode()
        )

    def _remember(self, ids: list[int], web: str | None) -> tuple[str, int]:
        with self.lock:
            web = web if web in self._history else f"MCID_{len(self._history) + 1:08x}"
            self._history.setdefault(web, []).append(ids)
            return web, len(self._history[web])

    def _chosen(self, asked: dict[str, str]) -> list[int]:
        """The PMIDs that are meant, by `id` or by the history."""
        if "WebEnv" not in asked:
            return _ids(asked.get("id", ""))
        lists = self._history.get(asked["WebEnv"], [])
        number = int(asked.get("query_key", 1))
        ids = lists[number - 1] if 0 < number <= len(lists) else []
        start = int(asked.get("retstart", 0))
        return ids[start : start + int(asked.get("retmax", 20))]


def _ids(text: str) -> list[int]:
    return [int(part) for part in re.split(r"[,\s]+", text) if part.isdecimal()]


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(json.dumps(value).encode(), status, "application/json; charset=UTF-8", headers or {})


def _search_error(text: str, as_json: bool) -> Answer:
    """As NCBI says it: with status 200, and line breaks as they are in JSON."""
    if as_json:
        inner = text.replace('"', "'")
        body = f'{{"header":{{"type":"esearch","version":"0.3"}},"esearchresult":{{"ERROR":"{inner}"}}}}'
        return Answer(body.encode(), 200, "application/json; charset=UTF-8")
    return Answer(f"<eSearchResult><ERROR>{escape(text)}</ERROR></eSearchResult>".encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    standin: StandIn

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._reply(urlsplit(self.path).query)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self._reply(self.rfile.read(length).decode())

    def _reply(self, query: str) -> None:
        asked = {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}
        program = urlsplit(self.path).path.rsplit("/", 1)[-1].removesuffix(".fcgi")
        sent = self.standin.answer(program, asked)
        if sent is None:
            self.close_connection = True
            return
        self.send_response(sent.status)
        for name, value in {
            "Content-Type": sent.kind,
            "Content-Length": str(len(sent.body)),
            **sent.headers,
        }.items():
            self.send_header(name, value)
        with contextlib.suppress(ConnectionError):  # whoever asked is gone
            self.end_headers()
            self.wfile.write(sent.body)


@contextmanager
def serve(standin: StandIn) -> Iterator[str]:
    """The server's address while it runs, on this machine alone."""
    handler = type("Bound", (_Handler,), {"standin": standin})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/entrez/eutils/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
