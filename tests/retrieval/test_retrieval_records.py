from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from residency.errors import Missing, StageFailed
from residency.processing import Report
from residency.pubmed.corpus import write_corpus
from residency.retrieval.records import documents, split_contents

PUBMED = """<?xml version="1.0"?><PubmedArticleSet>{}</PubmedArticleSet>"""
ARTICLE = (
    "<PubmedArticle><MedlineCitation Status='MEDLINE'><PMID Version='{v}'>{pmid}</PMID><Article>"
    "<ArticleTitle>Title {pmid}</ArticleTitle><Abstract><AbstractText>{text}</AbstractText></Abstract>"
    "</Article></MedlineCitation></PubmedArticle>"
)
DELETED = "<DeleteCitation><PMID Version='1'>{}</PMID></DeleteCitation>"


def read(path: Path, *rows: Any, **more: Any) -> tuple[list[dict[str, Any]], Report]:
    if rows:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = Report()
    return list(documents([path], report, **more)), report


def test_the_forms_that_documents_come_in(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    found, _ = read(path, {"id": 3, "contents": '"Evan Morris"\nHe was "L.A.’s" man.\nMore.'})
    assert found == [
        {
            "id": "3",
            "title": "Evan Morris",
            "text": 'He was "L.A.’s" man.\nMore.',
            "contents": '"Evan Morris"\nHe was "L.A.’s" man.\nMore.',
        }
    ]
    assert read(path, {"_id": "a", "title": "T", "text": " x "})[0] == [
        {"id": "a", "title": "T", "text": "x"}
    ]
    row = {"pmid": 12, "title": "T", "abstract": "A", "journal": {"title": "J"}, "year": 1999, "doi": ""}
    assert read(path, row)[0] == [
        {"id": "12", "title": "T", "text": "A", "pmid": "12", "journal": "J", "year": 1999}
    ]
    columns = {"id": "key", "title": "head", "text": "body"}
    found, _ = read(path, {"key": "k", "head": "H", "body": "B", "text": "other"}, columns=columns)
    assert found == [{"id": "k", "title": "H", "text": "B"}]


def test_a_corpus_folder(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="is no corpus"):
        read(tmp_path)
    made = [
        {"pmid": n, "title": f"T{n}", "abstract": f"A{n}", "journal": "J", "doi": "10.1/x"} for n in (1, 2)
    ]
    corpus = write_corpus(made, tmp_path / "corpus")
    found, report = read(tmp_path / "corpus")
    assert [row["id"] for row in found] == ["1", "2"]
    assert found[0] == {"id": "1", "title": "T1", "text": "A1", "pmid": "1", "journal": "J", "doi": "10.1/x"}
    assert report.read == report.kept == 2
    part = corpus.parts[0].path
    part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(StageFailed, match="is not whole"):
        read(tmp_path / "corpus")


def test_of_pubmed_xml_the_last_version_counts(tmp_path: Path) -> None:
    first, second = tmp_path / "a.xml.gz", tmp_path / "b.xml"
    articles = [ARTICLE.format(pmid=1, v=1, text="old"), ARTICLE.format(pmid=2, v=1, text="two")]
    first.write_bytes(gzip.compress(PUBMED.format("".join(articles)).encode()))
    articles = [ARTICLE.format(pmid=1, v=2, text="new"), ARTICLE.format(pmid=1, v=3, text="newest")]
    second.write_text(PUBMED.format("".join(articles) + DELETED.format(2)))
    report = Report()
    found = list(documents([first, second], report))
    assert [(row["id"], row["text"]) for row in found] == [("1", "newest")]
    assert report.dropped["replaced by a later version, or deleted"] == 3


def test_what_is_left_out_and_where_it_stops(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"id": n, "title": "T" if n else "", "text": "x" if n > 1 else ""} for n in range(6)]
    found, report = read(path, *rows)
    assert [row["id"] for row in found] == ["2", "3", "4", "5"]
    assert report.dropped == {"neither title nor text": 1, "no text": 1}
    assert [row["id"] for row in read(path, titles_alone=True, limit=3)[0]] == ["1", "2", "3"]


def test_mistakes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(StageFailed, match=r"rows.jsonl, row 2 has no id"):
        read(path, {"id": 1, "text": "x"}, {"text": "x"})
    with pytest.raises(StageFailed, match="has no text: no column `text` or `abstract`"):
        read(path, {"id": 1, "txt": "x"})
    with pytest.raises(StageFailed, match="no text: no column `body`"):
        read(path, {"id": 1, "text": "x"}, columns={"text": "body"})
    with pytest.raises(Missing, match="is not there"):
        read(tmp_path / "gone.jsonl")
    path.write_bytes(b'{"id": 1, "text": "caf\xe9"}\n')
    with pytest.raises(StageFailed, match="is not UTF-8"):
        read(path)
    path.write_text('{"id": 1, "text": "half \\ud83d a pair"}\n')
    assert read(path)[0][0]["text"] == "half ? a pair"


@pytest.mark.parametrize(
    ("contents", "expected"),
    [
        ('"T"\nx', ("T", "x")),
        ("T\nx", ("T", "x")),
        ("x", ("", "x")),
        ('"T"', ("T", "")),
        ('"', ("", '"')),
        ("", ("", "")),
    ],
)
def test_split_contents(contents: str, expected: tuple[str, str]) -> None:
    assert split_contents(contents) == expected
