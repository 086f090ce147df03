"""The E-utilities on this machine, with the faults that NCBI's have, and what was asked of them.

`Faulty` is the project's stand-in server with faults laid over its answers: each answer of a program may
be replaced by a fault, by a list of what is to come, or by chance.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field

from residency.pubmed.eutils.standin import HEAD, Answer, Records, StandIn

HTML = b"<!DOCTYPE html>\n<html><head><title>NCBI - WWW Error Blocked Diagnostic</title></head></html>"
ERROR_XML = (
    b'<?xml version="1.0" encoding="UTF-8" ?>\n<eFetchResult>\n\t<ERROR>Unable to obtain query #1</ERROR>\n'
    b"</eFetchResult>\n"
)
ERROR_JSON = (
    b'{"header":{"type":"esearch","version":"0.3"},'
    b'"esearchresult":{"ERROR":"Search Backend failed: Exception:\ntxsvr: read\ntimeout"}}'
)
RATE = b'{"error":"API rate limit exceeded","api-key":"127.0.0.1","count":"4","limit":"3"}'
NAMES = (
    *("500", "502", "429", "429_retry_after", "timeout", "truncated", "short", "error", "empty"),
    *("html", "hang_up", "fewer"),
)


def spoil(name: str, program: str, answer: Answer, silence: float) -> Answer | None:
    """The answer with that fault."""
    if name in ("500", "502"):
        return Answer(b"<html>Bad Gateway</html>", int(name), "text/html")
    if name == "429":
        return Answer(RATE, 429, "application/json")
    if name == "429_retry_after":
        return Answer(RATE, 429, "application/json", {"Retry-After": "1"})
    if name == "timeout":
        time.sleep(silence)
        return None
    if name == "truncated":  # by the length that the head of the answer says, too
        return Answer(answer.body[: len(answer.body) * 2 // 3], 200, answer.kind)
    if name == "short":  # fewer bytes than the head says
        headers = {"Content-Length": str(len(answer.body)), "Connection": "close"}
        return Answer(answer.body[:-20], 200, answer.kind, headers)
    if name == "error":
        return Answer(ERROR_JSON if program == "esearch" else ERROR_XML)
    if name == "empty":
        return Answer(b"")
    if name == "html":
        return Answer(HTML, 200, "text/html")
    if name == "hang_up":
        return None
    if name == "fewer":  # sound, and some of what was asked for is not in it
        if program == "esearch":
            return Answer(answer.body.replace(b'"idlist": ["', b'"idlist": [], "was": ["', 1))
        records = answer.body[len(HEAD) :].split(b"\n<PubmedArticle")
        return Answer(
            answer.body[: len(HEAD)] + b"\n<PubmedArticle".join(records[: max(1, len(records) // 2)])
        )
    raise KeyError(name)


@dataclass
class Faulty(StandIn):
    """The server."""

    planned: list[str | None] = field(default_factory=list)
    """What is to happen to the next answers, of whichever program; None: nothing."""
    share: float = 0.0
    """The share of further answers that are spoilt, by chance."""
    every: int = 0
    """Each so-many-th answer is spoilt, in every way in turn."""
    kinds: tuple[str, ...] = NAMES
    poison: set[int] = field(default_factory=set)
    """PMIDs that EFetch cannot give: an answer with one of them fails."""
    silence: float = 1.0
    """Seconds of a time-out."""
    spoilt: list[str] = field(default_factory=list)
    chance: random.Random = field(default_factory=lambda: random.Random(7))

    def fault(self, program: str, asked: dict[str, str], answer: Answer) -> Answer | None:
        with self.lock:
            name: str | None = None
            if self.planned:
                name = self.planned.pop(0)
            elif self.every and len(self.asked) % self.every == 0:
                name = self.kinds[len(self.spoilt) % len(self.kinds)]
            elif self.chance.random() < self.share:
                name = self.chance.choice(self.kinds)
            if name:
                self.spoilt.append(name)
        if name:
            sent = spoil(name, program, answer, self.silence)
            if sent is not None and name == "fewer" and program == "efetch":
                sent.body += (
                    b"\n</PubmedArticleSet>" if not sent.body.endswith(b"</PubmedArticleSet>") else b""
                )
                with self.lock:
                    for pmid in self.records.xml:
                        if f">{pmid}</PMID>".encode() in sent.body:
                            self.given[pmid] = self.given.get(pmid, 0) + 1
            return sent
        if program == "efetch" and self.poison & set(self._chosen(asked)):
            return Answer(ERROR_XML)
        return answer


def generated(n: int, first: int = 1, *, day: str | None = None) -> Records:
    """Records of our own making, entered over twenty years, or all on one day."""
    records = Records()
    for i in range(n):
        pmid = first + i
        year, month, date = (day or f"{2000 + i % 20}/{i // 20 % 12 + 1}/{i // 240 % 28 + 1}").split("/")
        when = f"<Year>{year}</Year><Month>{month}</Month><Day>{date}</Day>"
        entered = f'<PubMedPubDate PubStatus="entrez">{when}</PubMedPubDate>'
        issue = f"<JournalIssue><PubDate><Year>{year}</Year></PubDate></JournalIssue><Title>J</Title>"
        text = f"<Abstract><AbstractText>Number {pmid}.</AbstractText></Abstract><Language>eng</Language>"
        records.add(
            f'<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="1">{pmid}</PMID>'
            f"<Article><Journal>{issue}</Journal><ArticleTitle>Study {pmid} of asthma.</ArticleTitle>{text}"
            f"</Article></MedlineCitation><PubmedData><History>{entered}</History></PubmedData>"
            "</PubmedArticle>".encode()
        )
    return records
