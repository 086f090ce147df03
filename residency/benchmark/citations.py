"""Citations: the PMIDs that answers name, whether they exist, and whether they were retrieved.

A PMID is read in the forms `PMID: 12345678`, `PMIDs 1234567, 2345678 and 3456789`, `[12345678]`,
`[PMID12345678]`, `PubMed ID 12345678`, and in the addresses of PubMed. A number in running text is none,
a PMC number is none, and neither is a year.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from residency.benchmark import ranking
from residency.benchmark.figures import figure, ratio
from residency.benchmark.problems import Problems
from residency.benchmark.scored import Scored
from residency.engines.lm_eval.places import PUBMED
from residency.errors import Missing
from residency.retrieval.boolean.engine import QueryRejected, SearchUnavailable, StudySearch

_NUMBER = r"[1-9]\d{0,8}(?![\w]|\.\d)"
_MORE = r"[1-9]\d{4,8}(?![\w]|\.\d)"  # in a list a number of four digits is a year
_AND = r"(?:\s{0,3}(?:,|;|/|&|\band\b){1,2}\s{0,3}(?:\band\b\s{0,3})?(?:PMID\s{0,2}:?\s{0,2})?)"
_LABELLED = re.compile(
    rf"(?<![A-Za-z0-9])(?:PMIDs?|PubMed\s?IDs?|PubMed\s(?:identifiers?|numbers?))\s{{0,2}}"
    rf"(?:number|no\.?|is|=)?\s{{0,2}}[:\[(]{{0,2}}\s{{0,2}}#?({_NUMBER}(?:{_AND}{_MORE})*)",
    re.IGNORECASE | re.ASCII,
)
_ADDRESS = re.compile(
    r"(?:pubmed\.ncbi\.nlm\.nih\.gov|(?:www\.)?ncbi\.nlm\.nih\.gov/(?:m/)?pubmed|pubmed\.gov)"
    r"/(?:\?term=)?([1-9]\d{0,8})(?!\w)",
    re.IGNORECASE | re.ASCII,
)
_BRACKETED = re.compile(r"\[\s{0,2}([1-9]\d{6,7}(?:\s{0,2}[,;]\s{0,2}[1-9]\d{6,7})*)\s{0,2}\]", re.ASCII)
_DIGITS = re.compile(r"\d+", re.ASCII)

Lookup = Callable[[Sequence[int]], Mapping[int, bool | None]]
"""PMIDs → whether each exists; None where the look-up failed, which says nothing."""


def named(text: str) -> list[int]:
    """The PMIDs that a text names, each once, in the order in which they stand."""
    spans = [
        (match.start(1), match[1])
        for form in (_LABELLED, _ADDRESS, _BRACKETED)
        for match in form.finditer(text)
    ]
    return list(dict.fromkeys(int(one) for _, found in sorted(spans) for one in _DIGITS.findall(found)))


def among(known: Container[int]) -> Lookup:
    """Existence in a given set of PMIDs, such as those of a corpus."""
    return lambda asked: {one: one in known for one in asked}


def searched(search: StudySearch, batch: int = 100) -> Lookup:
    """Existence by study search, local or live: a look-up that fails gives None."""

    def look(asked: Sequence[int]) -> dict[int, bool | None]:
        answers: dict[int, bool | None] = {}
        for start in range(0, len(asked), batch):
            part = asked[start : start + batch]
            try:
                found = search.search(" OR ".join(f"{one}[pmid]" for one in part), retmax=len(part))
                there = set(ranking.pmids(found.pmids))
                answers |= {one: one in there for one in part}
            except (SearchUnavailable, QueryRejected):
                answers |= dict.fromkeys(part)
        return answers

    return look


@cache
def known(place: str) -> Lookup:
    """Which PMIDs exist: in PubMed itself (`pubmed`), in a corpus, in an index of the study search, or in a
    text file of PMIDs. Each is opened once.

    Raises:
        Missing: There is no such file or folder.
    """
    if place == PUBMED:
        from residency.retrieval.boolean.live import LiveSearch

        return searched(LiveSearch())
    path = Path(place)
    if path.is_file():
        return among(set(ranking.pmids(path.read_text(encoding="utf-8").split())))
    if not path.is_dir():
        raise Missing(f"there is no file or folder {path}")
    if (path / "manifest.json").is_file() and not any(path.glob("*.parquet")):
        from residency.retrieval.boolean.local import LocalSearch

        return searched(LocalSearch.open(path))
    from residency.pubmed.corpus import open_corpus

    return among(set(open_corpus(path).pmids()))


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and the PMIDs of the evidence that was retrieved for it."""

    id: str
    text: str
    evidence: tuple[int, ...] | None = None
    """None when it is not known what was retrieved."""


def score(answers: Sequence[Answer], exists: Lookup | None = None, *, seed: int = 0) -> Scored:
    """How answers cite.

    Figures:
        cites: the share of answers that name a PMID at all; over all answers.
        pmids_exist: the share of named PMIDs that exist; over the answers that cite. A PMID whose
            look-up failed is left out and counted among the problems.
        pmids_retrieved: the share of named PMIDs that were in the answer's evidence; over the
            answers that cite and whose evidence is known.

    Where nothing is cited the last two have n = 0 and no value.

    Args:
        answers: What was answered.
        exists: Looks PMIDs up; without it `pmids_exist` is left out.
        seed: Of the bootstrap over answers.
    """
    problems = Problems()
    cited = [named(one.text) for one in answers]
    every = sorted({one for found in cited for one in found})
    known = exists(every) if exists is not None else {}
    rows: list[dict[str, Any]] = []
    for answer, found in zip(answers, cited, strict=True):
        row: dict[str, Any] = {"id": answer.id, "pmids": found, "cites": float(bool(found))}
        if exists is not None:
            looked = [one for one in found if known.get(one) is not None]
            for one in found:
                if known.get(one) is None:
                    problems.add("a PMID that could not be looked up; left out", one)
                elif not known[one]:
                    problems.add("a PMID that does not exist", f"{answer.id}: {one}")
            row |= {"looked_up": len(looked), "exist": sum(bool(known[one]) for one in looked)}
        if answer.evidence is not None:
            row["retrieved"] = len(set(found) & set(answer.evidence))
        rows.append(row)
    figures = [figure("cites", [row["cites"] for row in rows], seed=seed)]
    if exists is not None:
        parts = [(row["exist"], row["looked_up"]) for row in rows if row["looked_up"]]
        figures.append(figure("pmids_exist", parts, ratio, seed=seed))
    parts = [(row["retrieved"], len(row["pmids"])) for row in rows if "retrieved" in row and row["pmids"]]
    if any("retrieved" in row for row in rows):
        figures.append(figure("pmids_retrieved", parts, ratio, seed=seed))
    return Scored(figures, rows, problems)


def answers(rows: Iterable[Mapping[str, Any]]) -> list[Answer]:
    """Answers from rows of samples.jsonl, or others with the same fields.

    `output` (or `answer`) is the text. The evidence is `evidence`, a list of PMIDs; without one, the
    PMIDs that the row's `prompt` names.
    """
    found = []
    for number, row in enumerate(rows, 1):
        text = row.get("output") if row.get("output") is not None else row.get("answer")
        evidence: tuple[int, ...] | None = None
        if isinstance(row.get("evidence"), Iterable) and not isinstance(row["evidence"], str):
            evidence = tuple(ranking.pmids(row["evidence"]))
        elif isinstance(row.get("prompt"), str):
            evidence = tuple(named(row["prompt"])) or None
        name = row.get("id")
        found.append(Answer(str(number if name in (None, "") else name), str(text or ""), evidence))
    return found


def of_task(rows: Iterable[Mapping[str, Any]], *, exists: str | None = None, seed: int = 0) -> Scored:
    """How the answers to a task cite, for an `evaluate` stage.

    Args:
        rows: As `answers` reads them.
        exists: Where PMIDs are looked up (`known`); without it `pmids_exist` is left out.
        seed: Of the bootstrap.

    Raises:
        Missing: There is no such place.
    """
    return score(answers(rows), known(exists) if exists else None, seed=seed)
