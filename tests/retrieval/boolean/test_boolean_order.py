"""Relevance and date order, and queries of every size."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from boolean_naive import TOPICS, Row, words

from residency.retrieval.boolean.build import build
from residency.retrieval.boolean.engine import QueryRejected
from residency.retrieval.boolean.local import LocalSearch

Topic = Callable[[str], tuple[list[Row], LocalSearch]]


def bm25(rows: list[Row], terms: list[str]) -> dict[str, float]:
    """The scores by the formula, a record and a word at a time; a `*` word is a sum of words."""
    texts = [[*words(row["title"]), *words(row["abstract"])] for row in rows]
    mean = sum(map(len, texts)) / len(texts)
    scores = [0.0] * len(rows)
    for term in terms:
        weights = []
        for text in texts:
            norm = 1.2 * (1 - 0.75 + 0.75 * len(text) / mean)
            if term.endswith("*"):
                variants = {word for word in text if word.startswith(term[:-1])}
            else:
                variants = {term} & set(text)
            weights.append(sum(text.count(v) * 2.2 / (text.count(v) + norm) for v in variants))
        df = sum(weight > 0 for weight in weights)
        idf = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
        scores = [score + idf * weight for score, weight in zip(scores, weights, strict=True)]
    return {str(row["pmid"]): score for row, score in zip(rows, scores, strict=True)}


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("migraine[tiab]", ["migraine"]),
        ("migraine[ti] OR sumatriptan[tiab] OR placebo*[tiab]", ["migraine", "sumatriptan", "placebo*"]),
        ('"acute migraine"[tiab] NOT children[tiab]', ["acute", "migraine"]),
        ("(pain[tw] OR headache[all]) AND 1990:2010[dp]", ["pain", "headache"]),
    ],
)
def test_relevance_is_bm25(query: str, terms: list[str], topic: Topic) -> None:
    rows, search = topic("Triptans")
    scores = bm25(rows, terms)
    found = search.search(query, retmax=1000).pmids
    assert len(found) > 20
    for better, worse in itertools.pairwise(found):
        # Weights are kept in 32 bits.
        assert scores[better] >= scores[worse] - 1e-5, (better, worse)
    assert search.search(query, retmax=7).pmids == found[:7]


def test_equals_come_by_pmid_the_higher_first(tmp_path: Path) -> None:
    numbers = list(range(1, 300))
    random.Random(1).shuffle(numbers)
    build(
        [{"pmid": n, "title": "the same title", "abstract": "", "date": "2001"} for n in numbers],
        tmp_path / "i",
    )
    search = LocalSearch.open(tmp_path / "i")
    for sort in ("relevance", "date"):
        assert search.search("same[ti]", retmax=5, sort=sort).pmids == ("299", "298", "297", "296", "295")  # type: ignore[arg-type]
        assert search.search("same[ti]", retmax=5).pmids == search.search("same[ti]", retmax=300).pmids[:5]


def test_date_order(topic: Topic) -> None:
    rows, search = topic("ADHD")
    days = {str(row["pmid"]): (row["date"] + "-01-01")[:10] if row["date"] else "" for row in rows}
    found = search.search("child*[tiab]", retmax=1000, sort="date").pmids
    keys = [(days[pmid], int(pmid)) for pmid in found]
    assert keys == sorted(keys, reverse=True)
    assert search.search("child*[tiab]", retmax=3, sort="date").pmids == found[:3]
    with pytest.raises(ValueError, match="sort"):
        search.search("child*[tiab]", sort="author")  # type: ignore[arg-type]


DRUGS = {
    "ACEInhibitors": "ace inhibitor*|angiotensin converting enzyme inhibitor*|captopril|enalapril|lisinopril"
    "|ramipril|benazepril|fosinopril|quinapril|trandolapril|moexipril|perindopril",
    "ADHD": "attention deficit|adhd|hyperactiv*",
    "Antihistamines": "antihistamin*|cetirizine|loratadine|fexofenadine|desloratadine",
    "AtypicalAntipsychotics": "antipsychotic*|olanzapine|risperidone|clozapine|quetiapine|ziprasidone",
    "CalciumChannelBlockers": "calcium channel block*|calcium antagonist*|amlodipine|nifedipine|diltiazem"
    "|verapamil|felodipine|nicardipine|isradipine|nisoldipine|bepridil",
    "NSAIDS": "nsaid*|anti-inflammatory|celecoxib|rofecoxib|diclofenac|ibuprofen|naproxen",
    "OralHypoglycemics": "sulfonylurea*|glyburide|glibenclamide|glipizide|glimepiride|metformin|repaglinide"
    "|nateglinide|gliclazide|chlorpropamide|tolbutamide",
    "ProtonPumpInhibitors": "proton pump inhibitor*|omeprazole|lansoprazole|pantoprazole|rabeprazole"
    "|esomeprazole",
    "Triptans": "triptan*|sumatriptan|rizatriptan|zolmitriptan|naratriptan|eletriptan|almotriptan"
    "|frovatriptan",
}
QUERIES = {
    name: f"({' OR '.join(f'{term}[tiab]' for term in terms.split('|'))})" for name, terms in DRUGS.items()
}
"""What a searcher would write for each review's drugs."""


@pytest.mark.parametrize("name", TOPICS)
def test_a_reviews_query_finds_its_studies(name: str, topic: Topic) -> None:
    rows, search = topic(name)
    included = {str(row["pmid"]) for row in rows if row["included"]}
    found = search.search(QUERIES[name], retmax=len(rows))
    assert len(included & set(found.pmids)) / len(included) >= 0.9
    assert found.count < len(rows)
    # By relevance they come earlier than by chance.
    half = set(found.pmids[: found.count // 2])
    assert len(included & half) / len(included) > 0.4
    narrower = search.search(f"{QUERIES[name]} AND random*[tiab]", retmax=len(rows))
    assert set(narrower.pmids) < set(found.pmids)


def test_a_query_of_100000_characters(topic: Topic) -> None:
    _, search = topic("NSAIDS")
    began = time.monotonic()
    found = search.search(" OR ".join(["arthritis[tiab]"] * 5300), retmax=1000)
    assert found.pmids == search.search("arthritis[tiab]", retmax=1000).pmids
    plain = search.search(" ".join(["arthritis pain"] * 6600), retmax=10)
    assert plain.count == search.search("arthritis pain").count
    assert time.monotonic() - began < 60
    with pytest.raises(QueryRejected, match="at most 200,000"):
        search.search("arthritis " * 20_001)


def test_thousands_of_pmids(topic: Topic) -> None:
    rows, search = topic("NSAIDS")
    some = [row["pmid"] for row in rows[::2]]
    unknown = range(50_000_000, 50_005_000)
    for joint, tag in ((" OR ", "[uid]"), (" ", "")):
        query = joint.join(f"{pmid}{tag}" for pmid in [*unknown, *some])
        assert set(search.search(query, retmax=1000).pmids) == {str(pmid) for pmid in some}


def test_brackets_within_brackets(topic: Topic) -> None:
    _, search = topic("NSAIDS")
    query = "(" * 100 + "pain[tiab]" + ")" * 100
    assert search.search(query).count == search.search("pain[tiab]").count
    deep = "pain[tiab]"
    for _ in range(99):
        deep = f"({deep} OR arthritis[tiab] NOT pain[ti])"
    assert search.search(deep).count > 0
    with pytest.raises(QueryRejected, match="nested"):
        search.search("(" * 100_000)


def test_a_hard_proximity_search_ends(tmp_path: Path) -> None:
    chance = random.Random(3)
    letters = [f"w{n}" for n in range(10)]
    rows = [
        {"pmid": n, "title": "", "abstract": " ".join(chance.choices([*letters[:9], "x", "y"], k=400))}
        for n in range(1, 30)
    ]
    build([*rows, {"pmid": 99, "title": "w9", "abstract": ""}], tmp_path / "i")
    search = LocalSearch.open(tmp_path / "i")
    began = time.monotonic()
    assert search.search(f'"{" ".join(letters)}"[tiab:~40]').count == 0
    search.search(f'"{" ".join(letters[:9])} w0"[tiab:~1]')
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    "query",
    [
        "migr" + "*a" * 40_000 + "*b[ti]",
        "aaaa" + "*a" * 30 + "*b[ti]",
        '"' + " " * 100_000 + 'x"[dp] OR pain',
        "a/b " * 25_000,
        "heart/therapy " * 7_000,
        "2000:x " * 14_000,
        '"' + "pain " * 20_000 + '"[tiab]',
        "pain[ti] NOT (" * 99 + "pain" + ")" * 99,
        "x[" + "y" * 100_000 + "]",
        "of the " * 14_000 + "pain",
        '"pain arthritis"[tiab:~1000] OR ' * 3_000 + "pain",
        "smith j[au] OR " * 6_000 + "pain",
        "arth*[mh] OR " * 7_000 + "pain",
    ],
)
def test_no_query_takes_forever(query: str, topic: Topic) -> None:
    _, search = topic("NSAIDS")
    began = time.process_time()
    with contextlib.suppress(QueryRejected):
        search.search(query)
    assert time.process_time() - began < 20
