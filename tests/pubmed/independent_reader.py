"""An independent reading: the standard library's parser, the whole tree, paths from the root."""

from __future__ import annotations

import gzip
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any


def words(element: ET.Element | None) -> str:
    return "" if element is None else " ".join("".join(element.itertext()).split())


def independent(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    root = ET.fromstring(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    found = []
    for item in root:
        if item.tag == "DeleteCitation":
            found += [{"pmid": p.text, "deleted": True} for p in item.findall("PMID")]
            continue
        cite = item.find("MedlineCitation")
        assert cite is not None
        art = cite.find("Article")
        assert art is not None
        ids = {i.get("IdType"): words(i) for i in item.findall("PubmedData/ArticleIdList/ArticleId")}
        located = [
            words(e)
            for e in art.findall("ELocationID")
            if e.get("EIdType") == "doi" and e.get("ValidYN", "Y") != "N"
        ]
        found.append(
            {
                "pmid": words(cite.find("PMID")),
                "version": int(cite.find("PMID").get("Version") or 1),  # type: ignore[union-attr]
                "status": cite.get("Status"),
                "title": words(art.find("ArticleTitle")),
                "vernacular_title": words(art.find("VernacularTitle")),
                "sections": [
                    (e.get("Label") or "", e.get("NlmCategory") or "", words(e))
                    for e in art.findall("Abstract/AbstractText")
                    if words(e) or e.get("Label")
                ],
                "other": [
                    (e.get("Type"), e.get("Language"), words(e.find("AbstractText")))
                    for e in cite.findall("OtherAbstract")
                ],
                "mesh": [
                    (
                        words(h.find("DescriptorName")),
                        h.find("DescriptorName").get("UI") or "",  # type: ignore[union-attr]
                        h.find("DescriptorName").get("MajorTopicYN") == "Y",  # type: ignore[union-attr]
                        [
                            (words(q), q.get("UI") or "", q.get("MajorTopicYN") == "Y")
                            for q in h.findall("QualifierName")
                        ],
                    )
                    for h in cite.findall("MeshHeadingList/MeshHeading")
                ],
                "types": [
                    (words(t), t.get("UI") or "") for t in art.findall("PublicationTypeList/PublicationType")
                ],
                "journal": (
                    words(art.find("Journal/Title")),
                    words(art.find("Journal/ISOAbbreviation")),
                    words(art.find("Journal/ISSN")),
                ),
                "year": words(art.find("Journal/JournalIssue/PubDate/Year")),
                "medline_date": words(art.find("Journal/JournalIssue/PubDate/MedlineDate")),
                "doi": located[0] if located else ids.get("doi", ""),
                "pmc": ids.get("pmc", ""),
                "languages": [words(e) for e in art.findall("Language")],
                "authors": len(art.findall("AuthorList/Author")),
            }
        )
    return found


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    if theirs.get("deleted"):
        assert ours == {**theirs, "version": 1}
        return
    for key in (
        "pmid",
        "version",
        "status",
        "title",
        "vernacular_title",
        "doi",
        "pmc",
        "languages",
        "authors",
    ):
        assert ours[key] == theirs[key], (ours["pmid"], key)
    assert [(s["label"], s["category"], s["text"]) for s in ours["sections"]] == theirs["sections"], ours[
        "pmid"
    ]
    assert [(o["type"], o["language"]) for o in ours["other_abstracts"]] == [o[:2] for o in theirs["other"]]
    assert [
        (h["name"], h["ui"], h["major"], [(q["name"], q["ui"], q["major"]) for q in h["qualifiers"]])
        for h in ours["mesh"]
    ] == theirs["mesh"]
    assert [(t["name"], t["ui"]) for t in ours["publication_types"]] == theirs["types"]
    assert tuple(ours["journal"].values()) == theirs["journal"]
    if theirs["year"]:
        assert ours["date"][:4] == theirs["year"] == str(ours["year"])
    else:
        assert ours["medline_date"] == theirs["medline_date"]
        assert str(ours["year"]) in theirs["medline_date"]
