"""The order of an answer: by relevance or by date, equal ones by PMID, the higher first.

Relevance is BM25 (Robertson and Zaragoza, 2009; k1 1.2, b 0.75) over title and abstract:

    score(record) = Σ idf(w) · tf · (k1 + 1) / (tf + k1 · (1 − b + b · length / mean length))
    idf(w) = ln(1 + (N − df + 0.5) / (df + 0.5))

over the different words of all terms that stand under no NOT: the words of text terms and phrases, and
those of headings. A word with `*` counts as the sum of the words that it stands for, with the number of
records that have any of them as df. Stop words, dates, names and numbers count nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from residency.retrieval.boolean.evaluate import runs
from residency.retrieval.boolean.index import Index
from residency.retrieval.boolean.meaning import Meaning, Near, Steps, Text
from residency.retrieval.boolean.text import STOPWORDS


def by_date(index: Index, matches: Any, retmax: int) -> Any:
    """The newest of the matching records (numbers, in order)."""
    return _best(index.dates[matches].astype(np.float64), matches, retmax)


def by_relevance(index: Index, matches: Any, meaning: Meaning, retmax: int) -> Any:
    """The most relevant of the matching records (numbers, in order)."""
    return _best(scores(index, matches, meaning), matches, retmax)


def positive_words(meaning: Meaning) -> list[str]:
    """The words that count, each once, in the order of their letters."""
    found: set[str] = set()
    waiting = [meaning]
    while waiting:
        here = waiting.pop()
        if isinstance(here, Steps):
            waiting.append(here.first)
            waiting.extend(operand for operator, operand in here.rest if operator != "NOT")
        else:
            found.update(here.words if isinstance(here, Text | Near) else getattr(here, "scored", ()))
    return sorted(found - STOPWORDS)


def scores(index: Index, matches: Any, meaning: Meaning) -> Any:
    """The score of each matching record."""
    total = np.zeros(len(matches))
    if not len(matches):
        return total
    dense: Any = None
    for pattern in positive_words(meaning):
        stretches = runs(index.word_numbers(pattern))
        if "*" in pattern:
            docs, weights, df = _summed(index, stretches)
        elif stretches:
            begin, end = index.word_starts[stretches[0][0]], index.word_starts[stretches[0][1]]
            docs, weights = index.word_docs[begin:end], index.word_weights[begin:end]
            df = int(index.word_df[stretches[0][0]])
        else:
            continue
        if not len(docs):
            continue
        idf = float(np.log(1 + (index.count - df + 0.5) / (df + 0.5)))
        if len(matches) * 8 < len(docs):
            # Few records: look each up among the word's.
            at = np.minimum(np.searchsorted(docs, matches), len(docs) - 1)
            total += np.where(docs[at] == matches, weights[at], np.float32(0)) * idf
        else:
            if dense is None:
                dense = np.zeros(index.count)
            dense[docs] = weights
            total += dense[matches] * idf
            dense[docs] = 0
    return total


def _summed(index: Index, stretches: list[tuple[int, int]]) -> tuple[Any, Any, int]:
    """The records of several words, each once, in order, with the sums of their weights; how many count."""
    slices = [slice(index.word_starts[a], index.word_starts[b]) for a, b in stretches]
    docs = np.concatenate([index.word_docs[s] for s in slices] or [index.word_docs[:0]])
    weights = np.concatenate([index.word_weights[s] for s in slices] or [index.word_weights[:0]])
    summed = np.bincount(docs, weights, minlength=index.count)
    found = np.flatnonzero(summed)
    return found.astype(np.uint32), summed[found], len(found)


def _best(values: Any, matches: Any, retmax: int) -> Any:
    """The `retmax` matches of the highest values; equal ones by their number, the higher first."""
    if retmax < len(matches):
        # All that reach the value of the last place, so that equals are told apart by number.
        bar = np.partition(values, len(values) - retmax)[len(values) - retmax]
        kept = values >= bar
        values, matches = values[kept], matches[kept]
    order = np.lexsort((-matches, -values))
    return matches[order[:retmax]]
