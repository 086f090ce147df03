"""The records of a PubMed XML file (baseline, update file or efetch reply), one by one.

Follows NLM's DTD (pubmed_190101 and its neighbours, and the older ones that efetch replies
still bear). `residency.pubmed.blocks` parses; this module picks the fields. All elements that
matter are found in one C-level pass over a block (`iter` with tags): their order in the DTD
tells a record's own PMID and ArticleIdList from those of its references and comments, which
always come later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from residency.pubmed.blocks import Broken, trees

MONTHS = {
    name: f"{number:02d}"
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), 1
    )
}


def records(
    path: Path, *, names: bool = False, broken: Callable[[Broken], None] | None = None
) -> Iterator[dict[str, Any]]:
    """Every record of the file, as a dictionary of plain values.

    A citation has `pmid` (str), `version` (int), `status` and `owner` (MEDLINE, NLM: only
    Status MEDLINE has been indexed in full), `title`, `vernacular_title`, `abstract` (text,
    `LABEL: ` before a labelled section, a line each), `sections` ([{label, category, text}]),
    `other_abstracts` ([{type, language, text}]), `mesh` ([{name, ui, major, qualifiers:
    [{name, ui, major}]}]), `publication_types` ([{name, ui}]), `date` (as exact as it is
    given: 1979, 1979-06, 1979-06-01), `medline_date` (free text instead: `1979 Jan-Feb`, or
    the season), `year` (int or None), `journal` ({title, abbreviation, issn}), `doi`, `pmc`,
    `languages` ([str]), `authors` (how many, groups included). Text that is not there is "".

    A deletion is {"pmid", "version", "deleted": True}. A book entry is {"pmid", "book": True}.

    Args:
        path: A file of PubMed XML, gzipped or not.
        names: Give `author_names` too ([str], as PubMed writes them: `Smith JA`, `Jones B Jr`,
            groups by their name).
        broken: Is told of a record that is no well-formed XML, and the others are given; without
            it such a record is an error.

    Raises:
        Missing: There is no such file.
        StageFailed: The file is cut short, broken, or not PubMed XML.
    """
    fields = {**_FIELDS, "AuthorList": _author_names} if names else _FIELDS
    for tree in trees(path, broken):
        yield from _records(tree, fields)


def _records(
    tree: Any, fields: Mapping[str, Callable[[dict[str, Any], Any], None]]
) -> Iterator[dict[str, Any]]:
    """The records of one tree."""
    row: dict[str, Any] = {}
    own_ids = False
    for element in tree.iter(*_TAGS):
        tag = element.tag
        take = fields.get(tag)
        if take is not None:
            if row:  # else it belongs to a book
                take(row, element)
        elif tag == "ArticleIdList":
            # The record's own; those of its references follow.
            if row and not own_ids:
                own_ids = True
                _article_ids(row, element)
        else:
            if row:
                yield row
                row = {}
            if tag == "PubmedArticle":
                row = _empty()
                own_ids = False
            elif tag == "PubmedBookArticle":
                yield {"pmid": _text(element.find(".//PMID")), "book": True}
            else:  # DeleteCitation, whose PMIDs must not be met again below
                for pmid in element.iter("PMID"):
                    yield {"pmid": _text(pmid), "version": _version(pmid), "deleted": True}
    if row:
        yield row


def _empty() -> dict[str, Any]:
    """A citation in which nothing has been found yet."""
    return {
        "pmid": "",
        "version": 1,
        "status": "",
        "owner": "",
        "title": "",
        "vernacular_title": "",
        "abstract": "",
        "sections": [],
        "other_abstracts": [],
        "mesh": [],
        "publication_types": [],
        "date": "",
        "medline_date": "",
        "year": None,
        "journal": {"title": "", "abbreviation": "", "issn": ""},
        "doi": "",
        "pmc": "",
        "languages": [],
        "authors": 0,
    }


def _text(element: Any) -> str:
    """The element's text without its markup: `H<sub>2</sub>O` is H2O; MathML is its characters.

    White space of any kind (line breaks of pretty-printed files, no-break spaces, U+2028, which
    some readers take for the end of a line) becomes one blank.
    """
    if element is None:
        return ""
    if len(element):
        return " ".join("".join(element.itertext()).split())
    text: str = element.text or ""
    # Most texts need no work, and to find that out takes a tenth of the time of doing it.
    plain = text.isascii() and "  " not in text and "\n" not in text and "\t" not in text
    if plain and text[:1] != " " and text[-1:] != " ":
        return text
    return " ".join(text.split())


def _citation(row: dict[str, Any], element: Any) -> None:
    row["status"] = element.get("Status") or ""
    row["owner"] = element.get("Owner") or ""


def _pmid(row: dict[str, Any], element: Any) -> None:
    if not row["pmid"]:  # PMIDs of comments and corrections follow
        row["pmid"] = _text(element)
        row["version"] = _version(element)


def _version(pmid: Any) -> int:
    text = pmid.get("Version") or "1"
    return int(text) if text.isdecimal() else 1


def _issn(row: dict[str, Any], element: Any) -> None:
    row["journal"]["issn"] = row["journal"]["issn"] or element.text or ""


def _journal_title(row: dict[str, Any], element: Any) -> None:
    row["journal"]["title"] = row["journal"]["title"] or _text(element)


def _abbreviation(row: dict[str, Any], element: Any) -> None:
    row["journal"]["abbreviation"] = element.text or ""


def _title(row: dict[str, Any], element: Any) -> None:
    row["title"] = row["title"] or _text(element)


def _vernacular_title(row: dict[str, Any], element: Any) -> None:
    row["vernacular_title"] = _text(element)


def _location(row: dict[str, Any], element: Any) -> None:
    if element.get("EIdType") == "doi" and element.get("ValidYN") != "N":
        row["doi"] = row["doi"] or _text(element)


def _authors(row: dict[str, Any], element: Any) -> None:
    row["authors"] = row["authors"] or len(element)


def _author_names(row: dict[str, Any], element: Any) -> None:
    if row["authors"]:
        return
    row["authors"] = len(element)
    names = row["author_names"] = []
    for author in element:
        parts = {e.tag: e.text for e in author}
        last = parts.get("LastName")
        if last:
            initials, suffix = parts.get("Initials"), parts.get("Suffix")
            name = f"{last} {initials}" if initials else last
            names.append(f"{name} {suffix}" if suffix else name)
        elif "CollectiveName" in parts:
            names.append(_text(author.find("CollectiveName")))


def _language(row: dict[str, Any], element: Any) -> None:
    row["languages"].append(element.text or "")


def _publication_types(row: dict[str, Any], element: Any) -> None:
    row["publication_types"] = [{"name": e.text or "", "ui": e.get("UI") or ""} for e in element]


def _own_abstract(row: dict[str, Any], element: Any) -> None:
    row["sections"], row["abstract"] = _abstract(element)


def _other_abstract(row: dict[str, Any], element: Any) -> None:
    kind, language = element.get("Type") or "", element.get("Language") or ""
    row["other_abstracts"].append({"type": kind, "language": language, "text": _abstract(element)[1]})


def _article_ids(row: dict[str, Any], element: Any) -> None:
    for e in element:
        kind = e.get("IdType")
        if kind == "doi":
            row["doi"] = row["doi"] or _text(e)
        elif kind == "pmc":
            row["pmc"] = _text(e)


def _abstract(element: Any) -> tuple[list[dict[str, str]], str]:
    """The sections of an abstract, and all of it as text."""
    sections = []
    lines = []
    for part in element.iterchildren("AbstractText"):
        text = _text(part)
        label = part.get("Label") or ""
        if not text and not label:
            continue
        sections.append({"label": label, "category": part.get("NlmCategory") or "", "text": text})
        lines.append(text if not label or label == "UNLABELLED" else f"{label}: {text}")
    return sections, "\n".join(lines)


def _mesh(row: dict[str, Any], element: Any) -> None:
    """The headings, each descriptor with its qualifiers."""
    headings: list[dict[str, Any]] = []
    qualifiers: list[dict[str, Any]] = []
    for e in element.iter("DescriptorName", "QualifierName"):
        # Both attributes in one call: this loop is a third of the reader's own time.
        values = e.values()
        if len(values) == 2 and values[1] in ("Y", "N"):
            entry = {"name": e.text or "", "ui": values[0], "major": values[1] == "Y"}
        else:
            entry = {"name": e.text or "", "ui": e.get("UI") or "", "major": e.get("MajorTopicYN") == "Y"}
        if e.tag == "DescriptorName":
            qualifiers = entry["qualifiers"] = []
            headings.append(entry)
        else:
            qualifiers.append(entry)
    row["mesh"] = headings


def _date(row: dict[str, Any], element: Any) -> None:
    """The date as exact as it is given, the free-text date, the year."""
    year = month = day = free = ""
    for e in element:
        text = (e.text or "").strip()
        if e.tag == "Year":
            year = text
        elif e.tag == "Month":
            month = MONTHS.get(text[:3].lower(), text.zfill(2) if text.isdecimal() else "")
        elif e.tag == "Day":
            day = text.zfill(2)
        elif e.tag == "Season":
            free = f"{year} {text}"
        elif e.tag == "MedlineDate":
            free = text
    if not year and free:
        # `1979 Jan-Feb`, `1998 Dec-1999 Jan`, `Spring 1977`: the first four digits in a row.
        year = next((w for w in free.replace("-", " ").split() if len(w) == 4 and w.isdecimal()), "")
    row["date"] = "-".join((year, month, day) if day else (year, month)) if month else year
    row["medline_date"] = free
    row["year"] = int(year) if year.isdecimal() else None


_FIELDS: dict[str, Callable[[dict[str, Any], Any], None]] = {
    "MedlineCitation": _citation,
    "PMID": _pmid,
    "ISSN": _issn,
    "PubDate": _date,
    "Title": _journal_title,
    "ISOAbbreviation": _abbreviation,
    "ArticleTitle": _title,
    "ELocationID": _location,
    "Abstract": _own_abstract,
    "AuthorList": _authors,
    "Language": _language,
    "PublicationTypeList": _publication_types,
    "VernacularTitle": _vernacular_title,
    "MeshHeadingList": _mesh,
    "OtherAbstract": _other_abstract,
}
_TAGS = (*_FIELDS, "ArticleIdList", "PubmedArticle", "PubmedBookArticle", "DeleteCitation")
FIELDS = (*_empty(), "deleted")
"""Every field that a record can have."""
