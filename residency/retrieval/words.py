"""The word index: BM25 by bm25s, its words stemmed by PyStemmer.

Documents and queries go through the same `Words`, whose settings are in the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from residency.errors import Missing, StageFailed

FOLDER = "bm25"
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_TOO_LONG = 64
"""Characters; what is longer is no word but a sequence or a link."""
INSTALL = "make install"


@dataclass(frozen=True, slots=True)
class Words:
    """How a text becomes words, and how they count."""

    method: str = "lucene"
    """bm25s's variants: lucene, robertson, atire."""
    k1: float = 1.5
    b: float = 0.75
    stemmer: str | None = "english"
    """A language of PyStemmer; None keeps words as they are."""
    stop_words: str | None = "english"
    """A list of bm25s by its language; None keeps every word."""

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it."""
        return asdict(self)


class Analyser:
    """A text to its words: lower case, without stop words, stemmed."""

    def __init__(self, words: Words) -> None:
        """Raises Missing where a library or a language is not there."""
        try:
            import Stemmer
            from bm25s.tokenization import Tokenizer
        except ImportError as error:
            raise Missing(f"the Python package {error.name} is not installed", INSTALL) from error
        try:
            stemmer = Stemmer.Stemmer(words.stemmer) if words.stemmer else None
            self._stop = frozenset(Tokenizer(stopwords=words.stop_words).stopwords)
        except (KeyError, ValueError) as error:
            raise Missing(
                f"there are no words for this language: {error}", "english is always there"
            ) from error
        self._stem = stemmer.stemWord if stemmer else None
        self._known: dict[str, str] = {}

    def __call__(self, text: str) -> list[str]:
        """The words of a text, in order, repetitions kept."""
        found = []
        for word in _WORD.findall(text.lower()):
            stem = self._known.get(word)
            if stem is None:
                if word in self._stop or len(word) > _TOO_LONG:
                    stem = ""
                else:
                    stem = self._stem(word) if self._stem else word
                if len(self._known) < 1_000_000:
                    self._known[word] = stem
            if stem:
                found.append(stem)
        return found


def build(folder: Path, texts: Iterable[str], words: Words) -> dict[str, int]:
    """Write the word index of all texts into `folder`; returns how many words and documents.

    Args:
        folder: The folder to write, whole or not at all by the caller.
        texts: One a document, in the order of the documents.
        words: How they are read.

    Raises:
        StageFailed: there is no word in any of them.
    """
    import bm25s
    import numpy as np

    analyser = Analyser(words)
    vocabulary: dict[str, int] = {}
    ids = [
        np.fromiter((vocabulary.setdefault(word, len(vocabulary)) for word in analyser(text)), dtype=np.int32)
        for text in texts
    ]
    if not vocabulary:
        raise StageFailed("there is no word in any document", "look at the corpus")
    index = bm25s.BM25(method=words.method, k1=words.k1, b=words.b)
    index.index((ids, vocabulary), create_empty_token=False, show_progress=False)
    index.save(folder, show_progress=False)
    return {"documents": len(ids), "words": len(vocabulary)}


class WordIndex:
    """A word index that is open, its arrays mapped into memory."""

    def __init__(self, folder: Path, words: Words) -> None:
        """Raises Missing where bm25s is not there, StageFailed where the index is damaged."""
        self._analyser = Analyser(words)
        import bm25s

        try:
            self._index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
            self.count = int(self._index.scores["num_docs"])
        except (OSError, ValueError, KeyError) as error:
            raise StageFailed(
                f"the word index {folder} cannot be read: {error}", "make the index again"
            ) from error

    def search(self, queries: Sequence[str], topk: int) -> list[list[tuple[int, float]]]:
        """For each query the (position, score) of the best documents that have one of its words."""
        if not queries:
            return []
        wanted = min(topk, self.count)
        found: list[list[tuple[int, float]]] = []
        for query in queries:
            words = self._analyser(query)
            words = [word for word in words if word in self._index.vocab_dict]
            if not words:
                found.append([])
                continue
            positions, scores = self._index.retrieve(
                [words], k=wanted, show_progress=False, n_threads=0, backend_selection="numpy"
            )
            pairs = zip(positions[0].tolist(), scores[0].tolist(), strict=True)
            found.append([(int(p), float(s)) for p, s in pairs if s > 0])
        return found
