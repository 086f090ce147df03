from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from residency.errors import Missing, StageFailed
from residency.retrieval.words import Analyser, WordIndex, Words, build

TEXTS = ("Statins and muscle pain", "Statin statin statins", "Vitamin D, and bone", "")


def open_index(folder: Path, words: Words, texts: tuple[str, ...] = TEXTS) -> WordIndex:
    folder.mkdir(exist_ok=True)
    build(folder, texts, words)
    return WordIndex(folder, words)


def test_words_are_stemmed_and_the_commonest_left_out() -> None:
    assert Analyser(Words())("The STATINS, and vitamin-D3 of children's") == [
        "statin",
        "vitamin",
        "d3",
        "children",
    ]
    assert Analyser(Words(stemmer=None, stop_words=None))("The statins") == ["the", "statins"]
    assert Analyser(Words())("A" * 100 + " x") == ["x"]
    with pytest.raises(Missing, match="no words for this language"):
        Analyser(Words(stemmer="klingon"))


def test_scores_are_those_of_the_formula(tmp_path: Path) -> None:
    """Lucene's BM25: idf = ln(1 + (N - n + 0.5) / (n + 0.5)), times tf / (tf + k1 (1 - b + b l / avg))."""
    index = open_index(tmp_path / "bm25", Words(k1=1.2, b=0.5))
    analyse = Analyser(Words())
    documents = [Counter(analyse(text)) for text in TEXTS]
    lengths = [sum(counts.values()) for counts in documents]
    query = "statin bone"
    expected: dict[int, float] = {}
    for word in analyse(query):
        n = sum(word in counts for counts in documents)
        idf = math.log(1 + (len(TEXTS) - n + 0.5) / (n + 0.5))
        for at, counts in enumerate(documents):
            if counts[word]:
                norm = 1.2 * (1 - 0.5 + 0.5 * lengths[at] / (sum(lengths) / len(TEXTS)))
                expected[at] = expected.get(at, 0) + idf * counts[word] / (counts[word] + norm)
    found = index.search([query], 10)[0]
    assert dict(found) == pytest.approx(expected, rel=1e-5)
    assert [at for at, _ in found] == sorted(expected, key=lambda at: -expected[at])


def test_only_documents_with_a_word_are_found(tmp_path: Path) -> None:
    index = open_index(tmp_path / "bm25", Words())
    found = index.search(["bones", "the and of", "zebra", "statins " * 20_000, "vitamin D"], 1_000_000)
    assert [[at for at, _ in ranking] for ranking in found] == [[2], [], [], [1, 0], [2]]
    assert index.count == 4
    assert index.search([], 3) == []


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no word in any document"):
        open_index(tmp_path / "none", Words(), ("", "the"))
    with pytest.raises(StageFailed, match="cannot be read"):
        WordIndex(tmp_path / "gone", Words())
