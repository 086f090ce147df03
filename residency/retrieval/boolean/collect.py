"""The postings of an index in the making: which word stands where, which name belongs to which record."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable

from residency.files import canonical
from residency.retrieval.boolean.documents import Document, journals
from residency.retrieval.boolean.languages import NAMES
from residency.retrieval.boolean.mesh import Vocabulary
from residency.retrieval.boolean.text import key, words

PART = "\x1f"
"""Stands between the parts of a name."""
TITLE_ZONE, ABSTRACT_ZONE, TERMS_ZONE, OTHER_ZONE = range(4)
ZONE_BITS = 28
"""A place is record << 32 | zone << 28 | number of the word."""
LONGEST_NAME = 16
"""Words of a name that untagged words of a query are mapped to."""


class Collector:
    """Takes documents one by one."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.digest = hashlib.sha256()
        self.pmids = array("q")
        self.dates = array("i")
        self.lengths = array("I")
        self.words: dict[str, int] = {}
        self.tokens = array("I")
        """Numbers of words, in the order of the text."""
        self.segments = array("q")
        """Where each segment of text without a break starts: its place …"""
        self.sizes = array("I")
        """… and how many words it has."""
        self.names: dict[str, int] = {}
        self.name_of = array("I")
        self.doc_of = array("I")
        self.subjects: set[str] = set()
        self._terms: dict[str, list[str]] = {}

    def add(self, document: Document) -> None:
        """Take a document."""
        doc = len(self.pmids)
        self.pmids.append(document.pmid)
        self.dates.append(document.date)
        self.digest.update(canonical([getattr(document, name) for name in Document.__slots__]) + b"\n")
        title, abstract = words(document.title), words(document.abstract)
        self.lengths.append(len(title) + len(abstract))
        self._text(doc, TITLE_ZONE, [title])
        self._text(doc, ABSTRACT_ZONE, [abstract])
        terms = [name for name, _, below in document.mesh for name in (name, *(q for q, _ in below))]
        self._text(doc, TERMS_ZONE, map(self._words, (*terms, *document.types)))
        others = [*document.authors, document.journal, document.abbreviation]
        self._text(doc, OTHER_ZONE, map(words, (*others, str(document.year or ""))))
        for name in set(self._keys(document)):
            self.name_of.append(self.names.setdefault(name, len(self.names)))
            self.doc_of.append(doc)

    def _words(self, term: str) -> list[str]:
        """The words of a heading or a type, of which there are few different ones."""
        found = self._terms.get(term)
        if found is None:
            found = self._terms[term] = words(term)
        return found

    def _text(self, doc: int, zone: int, items: Iterable[list[str]]) -> None:
        """Texts of a zone; a place is left empty between two, so that no phrase goes across."""
        at = doc << 32 | zone << ZONE_BITS
        number_of = self.words
        for item in items:
            if item:
                self.tokens.extend([number_of.setdefault(word, len(number_of)) for word in item])
                self.segments.append(at)
                self.sizes.append(len(item))
                at += len(item) + 1

    def _keys(self, document: Document) -> Iterable[str]:
        """The names under which a document is found, each with its kind before it."""
        for heading, major, below in document.mesh:
            at = self.vocabulary.add(heading)
            major = major or any(starred for _, starred in below)
            yield f"mh{PART}{at}"
            if major:
                yield f"mj{PART}{at}"
            for qualifier, starred in below:
                q = key(qualifier)
                yield f"sh{PART}{q}"
                yield f"mq{PART}{at}{PART}{q}"
                if starred or (major and not any(star for _, star in below)):
                    yield f"jq{PART}{at}{PART}{q}"
        for kind in document.types:
            at = key(kind)
            yield f"pt{PART}{at}"
            self.subjects.add(f"p{PART}{at}{PART}{kind.lower()}")
        for author in document.authors:
            yield f"au{PART}{author}"
        if document.authors:
            yield f"1au{PART}{document.authors[0]}"
            yield f"lastau{PART}{document.authors[-1]}"
        shown = " ".join(document.abbreviation.replace(".", " ").split()) or document.journal
        for journal in journals(document.journal, document.abbreviation):
            yield f"ta{PART}{journal}"
            if journal.count(" ") < LONGEST_NAME:
                self.subjects.add(f"j{PART}{journal}{PART}{shown}")
        for language in document.languages:
            if language in NAMES:
                yield f"la{PART}{language}"
        if document.doi:
            yield f"doi{PART}{document.doi}"
        if document.abstract:
            yield f"has{PART}abstract"
