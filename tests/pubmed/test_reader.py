from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from pubmed_case import HEAD, article, many, one

from processors.pubmed import read
from residency.errors import Missing, StageFailed
from residency.processing import Report
from residency.pubmed import blocks
from residency.pubmed.reader import records


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
