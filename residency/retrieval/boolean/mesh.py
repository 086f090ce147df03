"""The MeSH vocabulary from a file of NLM: headings, their other names, and what is beneath each.

Four forms of file are read, compressed by gzip or not, and told apart by what is in them:

- the trees with a tab (`C14.907.489<TAB>Hypertension`) or as `mtreesYYYY.bin` (`Hypertension;C14.907.489`);
- the ASCII file `dYYYY.bin`, with entry terms;
- the XML file `descYYYY.xml`, with entry terms.

Without entry terms a heading of two parts still has its other order: `Infant, Newborn` is found as
`newborn infant`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from residency.errors import Missing, RecipeInvalid
from residency.retrieval.boolean.text import key

_TREE = re.compile(r"[A-Z]\d\d(?:\.\d{2,3})*")


@dataclass(slots=True)
class Heading:
    """A MeSH heading."""

    name: str
    """In lower case, with its commas: `infant, newborn`."""
    trees: set[str] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)
    """Other names, as keys."""


class Vocabulary:
    """Headings by their keys."""

    def __init__(self) -> None:
        self.headings: dict[str, Heading] = {}
        self.of_tree: dict[str, str] = {}

    def add(self, name: str, trees: Iterable[str] = (), entries: Iterable[str] = ()) -> str:
        """A heading, or more about one that is there; returns its key."""
        name = " ".join(name.split()).lower()
        at = key(name)
        if at:
            heading = self.headings.setdefault(at, Heading(name))
            heading.trees.update(trees)
            heading.entries.update(entry for entry in map(key, entries) if entry)
            for tree in trees:
                self.of_tree[tree] = at
        return at

    def broader(self, at: str) -> set[str]:
        """The keys of a heading and of all above it in the trees."""
        found = {at}
        heading = self.headings.get(at)
        for tree in heading.trees if heading else ():
            while "." in tree:
                tree = tree.rpartition(".")[0]
                above = self.of_tree.get(tree)
                if above is not None:
                    found.add(above)
        return found

    def names(self) -> dict[str, str]:
        """Every name by which a heading is found, as keys → the heading's key. A heading's own name wins."""
        found: dict[str, str] = {}
        for at in sorted(self.headings):
            for entry in sorted(self.headings[at].entries):
                found.setdefault(entry, at)
        for at in sorted(self.headings):
            first, comma, second = self.headings[at].name.partition(", ")
            if comma and ", " not in second:
                found.setdefault(key(f"{second} {first}"), at)
        found.update({at: at for at in self.headings})
        return found


def read(path: Path) -> Vocabulary:
    """The vocabulary in a file.

    Raises:
        Missing: There is no such file.
        RecipeInvalid: It is none of the forms that are read.
    """
    vocabulary = Vocabulary()
    try:
        with _open(path) as stream:
            start = stream.peek(4096)[:4096].lstrip(b"\xef\xbb\xbf \r\n\t")  # type: ignore[attr-defined]
            if start.startswith(b"<"):
                _xml(stream, vocabulary)
            else:
                lines = (line.decode("utf-8-sig", "replace").rstrip("\r\n") for line in stream)
                _records(lines, vocabulary) if start.startswith(b"*NEWRECORD") else _trees(lines, vocabulary)
    except FileNotFoundError:
        raise Missing(f"there is no MeSH file {path}") from None
    except (OSError, EOFError, SyntaxError) as error:
        raise RecipeInvalid(f"the MeSH file {path} cannot be read: {error}") from None
    if not vocabulary.headings:
        raise RecipeInvalid(
            f"{path} has no MeSH headings in it",
            "give desc2025.xml, d2025.bin or mtrees2025.bin of NLM, or lines of tree number, tab, heading",
        )
    return vocabulary


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else path.open("rb")  # type: ignore[return-value]


def _trees(lines: Iterator[str], vocabulary: Vocabulary) -> None:
    for line in lines:
        first, _, second = line.partition("\t") if "\t" in line else line.partition(";")
        first, second = first.strip(), second.strip()
        if _TREE.fullmatch(first) and second:
            vocabulary.add(second, [first])
        elif _TREE.fullmatch(second) and first:
            vocabulary.add(first, [second])


def _records(lines: Iterator[str], vocabulary: Vocabulary) -> None:
    name, trees, entries = "", [], []
    for line in lines:
        mark, _, value = line.partition(" = ")
        if line.startswith("*NEWRECORD"):
            vocabulary.add(name, trees, entries)
            name, trees, entries = "", [], []
        elif mark == "MH":
            name = value
        elif mark == "MN":
            trees.append(value.strip())
        elif mark in ("ENTRY", "PRINT ENTRY"):
            entries.append(value.partition("|")[0])
    vocabulary.add(name, trees, entries)


def _xml(stream: IO[bytes], vocabulary: Vocabulary) -> None:
    from lxml import etree

    for _, record in etree.iterparse(stream, events=("end",), tag="DescriptorRecord", resolve_entities=False):
        vocabulary.add(
            record.findtext("DescriptorName/String") or "",
            [tree.text for tree in record.iterfind("TreeNumberList/TreeNumber") if tree.text],
            [term.text for term in record.iterfind("ConceptList/Concept/TermList/Term/String") if term.text],
        )
        record.clear()
        while record.getprevious() is not None:
            del record.getparent()[0]
