"""PubMed files of a few records, and their reading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
