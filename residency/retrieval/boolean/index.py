"""An index that is open: its arrays, mapped into memory and only read."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from residency.errors import Missing
from residency.files import read_json, sha256_file
from residency.retrieval.boolean.build import FORMAT, KIND, MANIFEST
from residency.retrieval.boolean.collect import LONGEST_NAME, PART
from residency.retrieval.boolean.filters import squeeze
from residency.retrieval.boolean.table import Table

AGAIN = "make it again: python launch.py pubmed index CORPUS -o {}"
_REMEMBERED = 20_000


class Index:
    """The arrays of an index, and what is looked up in them."""

    def __init__(self, folder: Path, *, verify: bool = False) -> None:
        self.folder = folder
        self.manifest = manifest(folder, verify=verify)
        self.pmids = self._array("pmids")
        self.dates = self._array("dates")
        self.words = self._table("words")
        self.word_starts = self._array("words.starts")
        self.word_docs = self._array("words.docs")
        self.word_zones = self._array("words.zones")
        self.word_weights = self._array("words.weights")
        self.word_df = self._array("words.df")
        self.places = self._array("words.places")
        self.place_starts = self._array("words.places.starts")
        self.names = self._table("names")
        self.name_starts = self._array("names.starts")
        self.name_docs = self._array("names.docs")
        self.subjects = self._table("subjects")
        self.count = len(self.pmids)
        self._subjects: dict[str, tuple[str, ...]] = {}
        self._goes_on: dict[str, bool] = {}
        self._patterns: dict[str, tuple[int, ...] | range] = {}

    def __reduce__(self) -> tuple[type[Index], tuple[Path]]:
        """Another process opens the folder itself."""
        return Index, (self.folder,)

    def _array(self, name: str) -> Any:
        path = self.folder / f"{name}.npy"
        try:
            # A plain array over the mapped file: numpy's memmap class costs microseconds a slice.
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise Missing(f"{path} cannot be read: {error}", AGAIN.format(self.folder)) from None
        return np.asarray(mapped).view(np.ndarray)

    def _table(self, name: str) -> Table:
        return Table(self._array(f"{name}.blob"), self._array(f"{name}.at"))

    def word_numbers(self, pattern: str) -> tuple[int, ...] | range:
        """The numbers of the words that a pattern matches; a range where they lie side by side."""
        if "*" not in pattern:
            number = self.words.find(pattern)
            return range(number, number + 1) if number >= 0 else range(0)
        known = self._patterns.get(pattern)
        if known is None:
            prefix, _, rest = pattern.partition("*")
            first, last = self.words.prefixed(prefix)
            known = range(first, last)
            if rest:
                matches = as_regex(pattern).fullmatch
                known = tuple(n for n in known if matches(self.words.text(n)))
            if len(self._patterns) < _REMEMBERED:
                self._patterns[pattern] = known
        return known

    def docs_of(self, name: str) -> Any:
        """The records of a name, in order."""
        number = self.names.find(name)
        if number < 0:
            return self.name_docs[:0]
        return self.name_docs[self.name_starts[number] : self.name_starts[number + 1]]

    def docs_matching(self, kind: str, prefix: str, pattern: str) -> Any:
        """The records of all names of a kind that begin with a prefix and match; repeated ones too."""
        start = kind + PART
        first, last = self.names.prefixed(start + prefix)
        matches = re.compile(pattern).fullmatch
        starts = self.name_starts
        parts = [
            self.name_docs[starts[n] : starts[n + 1]]
            for n in range(first, last)
            if matches(self.names.text(n)[len(start) :])
        ]
        return np.concatenate(parts) if parts else self.name_docs[:0]

    def has_name(self, kind: str, prefix: str, pattern: str) -> bool:
        """Whether there is such a name."""
        start = kind + PART
        first, last = self.names.prefixed(start + prefix)
        matches = re.compile(pattern).fullmatch
        return any(matches(self.names.text(n)[len(start) :]) for n in range(first, last))

    def subject(self, kind: str, key: str) -> tuple[str, ...]:
        """The names that a key stands for: headings (`m`), publication types (`p`), journals (`j`)."""
        wanted = f"{kind}{PART}{key}{PART}"
        known = self._subjects.get(wanted)
        if known is None:
            known = ()
            if key.count(" ") < LONGEST_NAME:
                first, last = self.subjects.prefixed(wanted)
                known = tuple(text[len(wanted) :] for text in self.subjects.texts(first, last))
            if len(self._subjects) < _REMEMBERED:
                self._subjects[wanted] = known
        return known

    def goes_on(self, key: str) -> bool:
        """Whether a heading, a type, a journal or an author has a name of these words and more."""
        known = self._goes_on.get(key)
        if known is None:
            known = any(
                first < last
                for first, last in (
                    *(self.subjects.prefixed(f"{kind}{PART}{key} ") for kind in "mpj"),
                    self.names.prefixed(f"au{PART}{key} "),
                )
            )
            if len(self._goes_on) < _REMEMBERED:
                self._goes_on[key] = known
        return known

    @cached_property
    def squeezed_types(self) -> dict[str, str]:
        """Publication types by their names without blanks, as filters spell them."""
        first, last = self.subjects.prefixed(f"p{PART}")
        names = [text.split(PART)[2] for text in self.subjects.texts(first, last)]
        return {squeeze(name): name for name in names}


def as_regex(pattern: str) -> re.Pattern[str]:
    """A pattern with `*` as a regular expression; `*` stands for any letters, none too.

    Each part between two `*` is taken where it first stands and never looked for again (atomic groups),
    which finds the same and cannot take forever.
    """
    first, *parts = pattern.split("*")
    middle = "".join(f"(?>.*?{re.escape(part)})" for part in parts[:-1] if part)
    last = f".*{re.escape(parts[-1])}" if parts else ""
    return re.compile(f"(?s){re.escape(first)}{middle}{last}")


def manifest(folder: Path, *, verify: bool = False) -> dict[str, Any]:
    """An index's manifest, once its files are seen to be whole.

    Args:
        folder: The index.
        verify: Compute the files' hashes too, which reads all of them.

    Raises:
        Missing: There is no index, or it is damaged or of another form.
    """
    again = AGAIN.format(folder)
    try:
        said = read_json(folder / MANIFEST)
    except (ValueError, OSError) as error:
        raise Missing(f"{folder / MANIFEST} cannot be read: {error}", again) from None
    if said is None:
        raise Missing(f"{folder} is no search index: it has no {MANIFEST}", again)
    if not isinstance(said, dict) or said.get("kind") != KIND:
        raise Missing(f"{folder} holds something else than a search index", again)
    if said.get("format") != FORMAT:
        raise Missing(f"{folder} has form {said.get('format')}; this version reads form {FORMAT}", again)
    files = said.get("files")
    if not isinstance(files, dict) or "pmids.npy" not in files:
        raise Missing(f"{folder / MANIFEST} does not list the index's files", again)
    for name, facts in files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != facts.get("bytes"):
            there = "is not there" if size is None else f"has {size:,} bytes, not {facts.get('bytes'):,}"
            raise Missing(f"the index is damaged: {path} {there}", again)
        if verify and sha256_file(path) != facts.get("sha256"):
            raise Missing(f"the index is damaged: {path} is not what was written", again)
    return said
