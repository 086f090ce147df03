"""PubMed's search fields: their tags and long names, and what a corpus has of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "text",
    "mesh",
    "subheading",
    "type",
    "author",
    "journal",
    "language",
    "date",
    "pmid",
    "doi",
    "filter",
    "absent",
]

TITLE, ABSTRACT, TERMS, OTHER = 1, 2, 4, 8
"""The zones of a record's text: title; abstract; MeSH terms, subheadings and publication types;
authors, journal and year."""


@dataclass(frozen=True, slots=True)
class Field:
    """A search field."""

    name: str
    """As PubMed shows it in a translation."""
    kind: Kind
    """How it is searched; `absent`: PubMed has it, a corpus does not."""
    tags: tuple[str, ...]
    zones: int = 0
    """Of a field of text: where it looks."""
    role: str = ""
    """Of an author: which; of a MeSH field: `major` or nothing; of a date: what stands in for it."""
    near: bool = False
    """Proximity may be asked for."""


def _absent(name: str, *tags: str, near: bool = False) -> Field:
    return Field(name, "absent", tags, near=near)


def _other_date(name: str, *tags: str) -> Field:
    return Field(name, "date", tags, role=name)


ALL = Field("All Fields", "text", ("all",), TITLE | ABSTRACT | TERMS | OTHER)
TIAB = Field("Title/Abstract", "text", ("tiab",), TITLE | ABSTRACT, near=True)
MESH = Field("MeSH Terms", "mesh", ("mh", "mesh", "mesh term", "mesh heading", "mesh headings"))
MAJOR = Field("MeSH Major Topic", "mesh", ("majr", "mesh major topics", "mesh major"), role="major")
SUBHEADING = Field("MeSH Subheading", "subheading", ("sh", "subheading", "mesh subheadings", "subh"))
TYPE = Field("Publication Type", "type", ("pt", "ptyp", "publication types"))
AUTHOR = Field("Author", "author", ("au", "auth", "author name"), role="au")
JOURNAL = Field("Journal", "journal", ("ta", "jour", "jn", "so", "source", "journal title"))
LANGUAGE = Field("Language", "language", ("la", "lang"))
DATE = Field(
    "Date - Publication", "date", ("dp", "pdat", "publication date", "pubdate", "date of publication", "year")
)
PMID = Field("UID", "pmid", ("uid", "pmid", "ui"))
FILTER = Field("Filter", "filter", ("filter", "sb", "filt", "subset"))

FIELDS = (
    ALL,
    Field("Title", "text", ("ti", "titl", "article title"), TITLE, near=True),
    Field("Abstract", "text", ("ab", "abst"), ABSTRACT),
    TIAB,
    Field("Text Word", "text", ("tw", "word", "text words", "text"), TITLE | ABSTRACT | TERMS),
    MESH,
    MAJOR,
    SUBHEADING,
    TYPE,
    AUTHOR,
    Field("Author - First", "author", ("1au", "first author", "first author name", "faut"), role="1au"),
    Field("Author - Last", "author", ("lastau", "last author", "last author name", "laut"), role="lastau"),
    Field("Author - Full", "author", ("fau", "full author name", "full"), role="au"),
    JOURNAL,
    LANGUAGE,
    DATE,
    _other_date("Date - Create", "crdt", "create date"),
    _other_date("Date - Entry", "edat", "entry date", "entrez date", "date - entrez"),
    _other_date("Date - MeSH", "mhda", "mesh date"),
    _other_date("Date - Modification", "lr", "mdat", "modification date"),
    _other_date("Date - Completion", "dcom", "completion date", "cdat"),
    _other_date("Electronic Date of Publication", "epdat", "epdt", "electronic publication date", "dep"),
    _other_date("Print Date of Publication", "ppdat", "ppdt", "print publication date"),
    PMID,
    Field("Article Identifier", "doi", ("aid", "doi", "digital object identifier")),
    Field("Location ID", "doi", ("lid",)),
    FILTER,
    _absent("Affiliation", "ad", "affl", near=True),
    _absent("Author Identifier", "auid", "author - identifier"),
    _absent("Book", "book"),
    _absent("Conflict of Interest Statement", "cois", "conflict of interest statements"),
    _absent("Author - Corporate", "cn", "corporate author", "coln"),
    _absent("EC/RN Number", "rn", "ecno", "registry number"),
    _absent("Editor", "ed"),
    _absent("Grants and Funding", "gr", "grnt", "grant number"),
    _absent("Investigator", "ir", "invr"),
    _absent("Investigator - Full", "fir", "full investigator name"),
    _absent("ISBN", "isbn"),
    _absent("Issue", "ip", "iss"),
    _absent("NLM Unique ID", "jid", "nlmid"),
    _absent("Other Term", "ot", "otrm"),
    _absent("Pagination", "pg", "page"),
    _absent("Personal Name as Subject", "ps"),
    _absent("Pharmacological Action", "pa", "papx", "pharmacologic action"),
    _absent("Place of Publication", "pl", "cnty", "country"),
    _absent("Publisher", "pubn"),
    _absent("Secondary Source ID", "si"),
    _absent("Supplementary Concept", "nm", "subs", "substance", "substance name"),
    _absent("Transliterated Title", "tt"),
    _absent("Volume", "vi", "vol"),
)


def _squeeze(name: str) -> str:
    return " ".join(name.lower().replace("–", "-").split())


TAGS: dict[str, Field] = {}
for _field in FIELDS:
    for _tag in (_field.name, *_field.tags):
        assert TAGS.setdefault(_squeeze(_tag), _field) is _field, _tag


def field(name: str) -> Field | None:
    """The field of a tag or long name in any case; None where PubMed has none."""
    squeezed = _squeeze(name)
    return TAGS.get(squeezed) or TAGS.get(squeezed.replace(" / ", "/").replace("/ ", "/").replace(" /", "/"))
