from __future__ import annotations

import gzip
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from processors.pubmed import read
from residency.errors import Missing, StageFailed
from residency.processing import Report
from residency.pubmed import blocks
from residency.pubmed.reader import records

HEAD = (
    '<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE PubmedArticleSet PUBLIC '
    '"-//NLM//DTD PubMedArticle, 1st January 2019//EN" "https://dtd.example.org/pubmed_190101.dtd">\n'
)


def article(pmid: str = "1", citation: str = "", article: str = "", data: str = "", **attributes: str) -> str:
    status = attributes.get("status", "MEDLINE")
    return (
        f'<PubmedArticle><MedlineCitation Status="{status}" Owner="NLM"><PMID Version="1">{pmid}</PMID>'
        f"<Article><Journal><Title>J</Title></Journal>{article}</Article>{citation}</MedlineCitation>"
        f"<PubmedData>{data}</PubmedData></PubmedArticle>"
    )


def one(tmp_path: Path, text: str, head: str = HEAD) -> dict[str, Any]:
    (found,) = many(tmp_path, text, head)
    return found


def many(tmp_path: Path, text: str, head: str = HEAD) -> list[dict[str, Any]]:
    path = tmp_path / "a.xml"
    path.write_text(f"{head}<PubmedArticleSet>\n{text}\n</PubmedArticleSet>\n", encoding="utf-8")
    return list(records(path))


# An independent reading: the standard library's parser, the whole tree, paths from the root.


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


@pytest.mark.parametrize("block", [1024, 10_000, blocks.BLOCK])
def test_real_records_read_as_an_independent_reader_reads_them(
    block: int, reference_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK", block)
    path = reference_dir / "pubmed_xml/pubmed21n1298_slice500.xml.gz"
    ours, theirs = list(records(path)), independent(path)
    assert len(ours) == len(theirs) == 520
    for a, b in zip(ours, theirs, strict=True):
        same(a, b)
    assert sum(1 for row in ours if row.get("deleted")) == 20


def test_efetch_replies(reference_dir: Path) -> None:
    n = 0
    for path in sorted((reference_dir / "pubmed_xml/eutils_replies").glob("pubmed*.xml")):
        theirs = independent(path)
        ours = list(records(path))
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
        n += len(ours)
    assert n >= 8


def test_events_and_blocks_agree(reference_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = reference_dir / "pubmed_xml/pubmed21n1298_slice500.xml.gz"
    by_blocks = list(records(path))

    def refuse(stream: object) -> Any:
        raise blocks._OtherLayout
        yield

    monkeypatch.setattr(blocks, "_blocks", refuse)
    assert list(records(path)) == by_blocks


def test_markup_is_text(tmp_path: Path) -> None:
    title = (
        "<ArticleTitle>H<sub>2</sub>O and <i>E. <b>coli</b></i>: p &lt; 0.05, "
        '<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:msup><mml:mi>R</mml:mi>\n  '
        "<mml:mn>2</mml:mn></mml:msup></mml:math> <!-- a comment -->end<?pi x?>.</ArticleTitle>"
    )
    assert one(tmp_path, article(article=title))["title"] == "H2O and E. coli: p < 0.05, R 2 end."


def test_white_space_between_markup_is_text(tmp_path: Path) -> None:
    title = (
        "<ArticleTitle><i>E.</i> <b>coli</b>\n  <sub>2</sub> "
        '<mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mrow> <mml:mi>x</mml:mi> '
        "<mml:mo>=</mml:mo>\n<mml:mfrac><mml:mn>1</mml:mn> <mml:mn>2</mml:mn></mml:mfrac></mml:mrow>"
        "</mml:math></ArticleTitle>"
    )
    abstract = "<Abstract>\n <AbstractText>\n  <sup>1</sup> <i>In vitro</i> </AbstractText>\n</Abstract>"
    found = one(tmp_path, article(article=title + abstract))
    assert (found["title"], found["abstract"]) == ("E. coli 2 x = 1 2", "1 In vitro")


def test_labelled_sections(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        article(
            article="<Abstract><AbstractText Label='BACKGROUND' NlmCategory='OBJECTIVE'>Why.</AbstractText>"
            "<AbstractText Label='UNLABELLED'>Plain.</AbstractText><AbstractText/>"
            "<!-- c --><AbstractText>More\n      lines.</AbstractText>"
            "<CopyrightInformation>(c) 2020</CopyrightInformation></Abstract>"
        ),
    )
    assert found["abstract"] == "BACKGROUND: Why.\nPlain.\nMore lines."
    assert found["sections"] == [
        {"label": "BACKGROUND", "category": "OBJECTIVE", "text": "Why."},
        {"label": "UNLABELLED", "category": "", "text": "Plain."},
        {"label": "", "category": "", "text": "More lines."},
    ]


def test_odd_records(tmp_path: Path) -> None:
    bare, group, other = many(
        tmp_path,
        "<PubmedArticle><MedlineCitation><PMID>7</PMID><Article/></MedlineCitation></PubmedArticle>"
        + article(
            "8",
            article="<ArticleTitle/><VernacularTitle>Titel</VernacularTitle><Abstract/>"
            "<AuthorList><!-- c --><Author><CollectiveName>A Group</CollectiveName></Author>"
            "<Author/></AuthorList>"
            "<PublicationTypeList><!-- c --><PublicationType UI='D1'>Letter</PublicationType>"
            "</PublicationTypeList>",
            status="In-Process",
        )
        + article(
            "9",
            citation="<OtherAbstract Type='PIP' Language='eng'><AbstractText>Other</AbstractText>"
            "</OtherAbstract>",
        ),
    )
    assert (bare["pmid"], bare["version"], bare["title"], bare["abstract"], bare["mesh"]) == (
        "7",
        1,
        "",
        "",
        [],
    )
    assert (bare["year"], bare["date"], bare["authors"]) == (None, "", 0)
    assert (group["authors"], group["vernacular_title"], group["status"]) == (2, "Titel", "In-Process")
    assert group["publication_types"] == [{"name": "Letter", "ui": "D1"}]
    assert other["abstract"] == ""
    assert other["other_abstracts"] == [{"type": "PIP", "language": "eng", "text": "Other"}]


def test_ids_of_comments_and_references_are_not_the_records_own(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        article(
            "5",
            citation="<CommentsCorrectionsList><CommentsCorrections><PMID Version='1'>6</PMID>"
            "</CommentsCorrections></CommentsCorrectionsList>",
            article="<ELocationID EIdType='doi' ValidYN='N'>10.1/wrong</ELocationID>",
            data="<ArticleIdList><ArticleId IdType='pubmed'>5</ArticleId>"
            "<ArticleId IdType='doi'>10.1/own</ArticleId><ArticleId IdType='pmc'>PMC1</ArticleId>"
            "</ArticleIdList><ReferenceList><Reference><ArticleIdList>"
            "<ArticleId IdType='doi'>10.1/other</ArticleId><ArticleId IdType='pmc'>PMC2</ArticleId>"
            "</ArticleIdList></Reference></ReferenceList>",
        ),
    )
    assert (found["pmid"], found["doi"], found["pmc"]) == ("5", "10.1/own", "PMC1")


@pytest.mark.parametrize(
    ("given", "date", "free", "year"),
    [
        ("<Year>1979</Year><Month>Jun</Month><Day>1</Day>", "1979-06-01", "", 1979),
        ("<Year>1979</Year><Month>6</Month>", "1979-06", "", 1979),
        ("<Year>1979</Year>", "1979", "", 1979),
        ("<Year>1979</Year><Season>Winter</Season>", "1979", "1979 Winter", 1979),
        ("<MedlineDate>1979 Jan-Feb</MedlineDate>", "1979", "1979 Jan-Feb", 1979),
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", "1998", "1998 Dec-1999 Jan", 1998),
        ("<MedlineDate>Spring 1977</MedlineDate>", "1977", "Spring 1977", 1977),
        ("<MedlineDate>1977-1978</MedlineDate>", "1977", "1977-1978", 1977),
        ("<MedlineDate>no date</MedlineDate>", "", "no date", None),
        ("", "", "", None),
    ],
)
def test_dates(given: str, date: str, free: str, year: int | None, tmp_path: Path) -> None:
    journal = f"<Journal><JournalIssue><PubDate>{given}</PubDate></JournalIssue></Journal>"
    found = one(tmp_path, article(article=journal))
    assert (found["date"], found["medline_date"], found["year"]) == (date, free, year)


def test_deletions_books_and_reports(tmp_path: Path) -> None:
    text = (
        article("1", article="<Abstract><AbstractText>A</AbstractText></Abstract>")
        + "<PubmedBookArticle><BookDocument><PMID>77</PMID><ArticleTitle>B</ArticleTitle></BookDocument>"
        + "</PubmedBookArticle>"
        + article("2")
        + "<DeleteCitation><PMID Version='1'>3</PMID><PMID Version='2'>4</PMID></DeleteCitation>"
    )
    path = tmp_path / "b.xml"
    path.write_text(f"{HEAD}<PubmedArticleSet>{text}</PubmedArticleSet>")
    report = Report()
    assert [r["pmid"] for r in read(iter([{"path": str(path)}]), report=report)] == ["1", "2"]
    assert (report.read, report.kept) == (5, 2)
    assert report.dropped == {"an entry for a book": 1, "deleted by NLM": 2}
    kept = list(read(iter([{"path": str(path)}]), deleted="keep", abstract=False))
    assert kept[-1] == {"pmid": "4", "version": 2, "deleted": True}
    assert [r["pmid"] for r in read(iter([{"path": str(path)}]), abstract=True)] == ["1"]
    assert [r["pmid"] for r in read(iter([{"path": str(path)}]), limit=1)] == ["1"]


@pytest.mark.parametrize(
    "head",
    [
        HEAD,
        "",
        "<?xml version='1.0' encoding='ISO-8859-1'?>",
        "<!-- a comment first --><!DOCTYPE PubmedArticleSet [<!ENTITY e 'x'>]>",
        "<?xml version='1.0'?>\n<?xml-stylesheet href='a.xsl'?>\n",
    ],
)
def test_every_head_is_read(head: str, tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    encoding = "latin-1" if "8859" in head else "utf-8"
    text = (
        head
        + "<PubmedArticleSet>"
        + article("1", article="<ArticleTitle>Café</ArticleTitle>")
        + "</PubmedArticleSet>"
    )
    path.write_bytes(text.encode(encoding))
    (found,) = records(path)
    assert (found["pmid"], found["title"]) == ("1", "Café")


def test_the_end_tag_as_text_does_not_mislead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 300)
    odd = "<ArticleTitle><![CDATA[about </PubmedArticle> tags]]></ArticleTitle>"
    text = article("1") + "<!-- </PubmedArticle> -->" + article("2", article=odd) + article("3")
    found = many(tmp_path, text)
    assert [f["pmid"] for f in found] == ["1", "2", "3"]
    assert found[1]["title"] == "about </PubmedArticle> tags"


def test_no_entity_is_expanded_and_nothing_outside_is_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("s3cret")
    head = f"<!DOCTYPE PubmedArticleSet [<!ENTITY e SYSTEM 'file://{secret}'><!ENTITY l 'lol'>]>"
    text = article("1", article="<ArticleTitle>a &e; b &l; c</ArticleTitle>")
    assert "s3cret" not in str(many(tmp_path, text, head))
    laughs = "".join(f"<!ENTITY l{i} '{f'&l{i - 1};' * 10}'>" for i in range(1, 12))
    bomb = f"<!DOCTYPE PubmedArticleSet [<!ENTITY l0 'lol'>{laughs}]>"
    try:
        found = many(tmp_path, article("1", article="<ArticleTitle>&l11;</ArticleTitle>"), bomb)
        assert len(found[0]["title"]) < 1000
    except StageFailed:
        pass  # refused by the parser: also well


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_short(zipped: bool, tmp_path: Path) -> None:
    text = HEAD + "<PubmedArticleSet>" + "".join(article(str(i)) for i in range(200)) + "</PubmedArticleSet>"
    data = text.encode()
    path = tmp_path / "a.xml"
    path.write_bytes(gzip.compress(data)[:-500] if zipped else data[:-500])
    with pytest.raises(StageFailed, match=r"cut short|not whole"):
        list(records(path))


def test_what_is_no_pubmed_file(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    with pytest.raises(Missing):
        list(records(path))
    for text, said in (
        ("<html><body>503</body></html>", "root element is html"),
        ("not XML", "not whole"),
        ("", "not whole"),
        ("<a><b></a>", "not whole"),
    ):
        path.write_text(text)
        with pytest.raises(StageFailed, match=said):
            list(records(path))
    for text in ("<PubmedArticleSet></PubmedArticleSet>", "<PubmedArticleSet/>"):
        path.write_text(text)
        assert list(records(path)) == []


def test_memory_stays_small(reference_dir: Path, tmp_path: Path) -> None:
    """A file of 20,000 real records, one after the other in one document, and its reader's peak."""
    source = gzip.decompress((reference_dir / "pubmed_xml/pubmed21n1298_slice500.xml.gz").read_bytes())
    start = source.index(b"<PubmedArticle>")
    end = source.rindex(b"</PubmedArticle>") + len(b"</PubmedArticle>")
    path = tmp_path / "big.xml.gz"
    with gzip.open(path, "wb", compresslevel=1) as out:
        out.write(source[:start])
        for _ in range(40):
            out.write(source[start:end])
        out.write(b"</PubmedArticleSet>")
    code = (
        "import sys; from processors.pubmed import read;"
        "n = sum(1 for _ in read(iter([{'path': sys.argv[1]}])));"
        # Not getrusage: its peak begins with that of the process that started this one.
        "print(n, next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    n, kilobytes = map(int, done.stdout.split())
    assert n == 20_000
    assert kilobytes < 60_000
