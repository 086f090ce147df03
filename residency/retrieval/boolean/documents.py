"""A corpus's rows as this index takes them.

A row is one of a corpus (`residency.pubmed.corpus`) or a record of `residency.pubmed.reader` (with
`names=True`, else there are no authors to search); fields that are not there are empty.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from residency.errors import RecipeInvalid
from residency.retrieval.boolean import dates
from residency.retrieval.boolean.text import fold, key, words

COLUMNS = (
    "pmid",
    "title",
    "abstract",
    "mesh",
    "publication_types",
    "journal",
    "journal_abbreviation",
    "date",
    "year",
    "doi",
    "languages",
    "authors",
)
"""The columns of a corpus that are searched."""
_BRACKETS = re.compile(r"\s*[(\[][^)\]]*[)\]]")


@dataclass(frozen=True, slots=True)
class Document:
    """A record, each field in the form in which it is searched."""

    pmid: int
    title: str
    abstract: str
    mesh: tuple[tuple[str, bool, tuple[tuple[str, bool], ...]], ...]
    """Headings: name, whether major, the subheadings as (name, whether major)."""
    types: tuple[str, ...]
    authors: tuple[str, ...]
    """As keys: `smith ja`."""
    journal: str
    abbreviation: str
    languages: tuple[str, ...]
    date: int
    year: int
    doi: str


def document(row: Mapping[str, Any]) -> Document:
    """A row of a corpus, or a record of the reader.

    Raises:
        RecipeInvalid: It has no PMID.
    """
    try:
        pmid = int(row["pmid"])
    except (KeyError, TypeError, ValueError):
        raise RecipeInvalid(f"a row without a PMID: {str(dict(row))[:200]}") from None
    journal, authors = row.get("journal"), row.get("author_names") or row.get("authors")
    title, abbreviation = (
        (journal.get("title"), journal.get("abbreviation"))
        if isinstance(journal, Mapping)
        else (journal, row.get("journal_abbreviation"))
    )
    date = dates.of_record(row.get("date") or row.get("medline_date"), row.get("year"))
    return Document(
        pmid=pmid,
        title=row.get("title") or "",
        abstract=row.get("abstract") or "",
        mesh=tuple(_heading(heading) for heading in row.get("mesh") or ()),
        types=tuple(_name(kind) for kind in row.get("publication_types") or ()),
        authors=tuple(filter(None, map(author, authors))) if isinstance(authors, list | tuple) else (),
        journal=title or "",
        abbreviation=abbreviation or "",
        languages=tuple((language or "").lower() for language in row.get("languages") or ()),
        date=date,
        year=row.get("year") or date // 10000,
        doi=(row.get("doi") or "").lower(),
    )


def _heading(heading: Mapping[str, Any]) -> tuple[str, bool, tuple[tuple[str, bool], ...]]:
    below = tuple((q["name"], bool(q.get("major"))) for q in heading.get("qualifiers") or ())
    return heading["name"], bool(heading.get("major")), below


def _name(kind: Any) -> str:
    return (kind.get("name") if isinstance(kind, Mapping) else kind) or ""


def author(name: str) -> str:
    """An author's name as a key, last name and initials: `Smith JA`, `Smith, John A.`, `J A Smith`.

    A query's author goes through the same, so `o'brien j.a.` finds `O'Brien JA`.
    """
    last, comma, fore = name.partition(",")
    parts = name.replace(".", " ").split()
    if comma and fore.strip():
        given = words(fore)
        if len(given) == 1 and len(given[0]) <= 3 and fore.strip(" .").isupper():
            return " ".join([*words(last), given[0]])
        return " ".join([*words(last), "".join(part[0] for part in given)])
    if (
        len(parts) > 1
        and all(len(part) == 1 and part.isupper() for part in parts[:-1])
        and len(parts[-1]) > 1
    ):
        return f"{' '.join(words(parts[-1]))} {fold(''.join(parts[:-1]))}"
    found = words(name)
    first = len(found)
    while first > 1 and len(found[first - 1]) == 1:
        first -= 1
    return " ".join([*found[:first], "".join(found[first:])]).rstrip()


def journals(journal: str, abbreviation: str) -> set[str]:
    """The keys by which a journal is found: its title, without brackets too, and its abbreviation."""
    found = set()
    for title in (journal, _BRACKETS.sub("", journal), journal.partition(" = ")[0], abbreviation):
        name = key(title)
        found.update((name, name.removeprefix("the ")))
    return found - {""}


def documents(rows: Iterable[Mapping[str, Any]]) -> Iterator[Document]:
    """Rows as documents; deletions and books are passed over."""
    return (document(row) for row in rows if not row.get("deleted") and not row.get("book"))
