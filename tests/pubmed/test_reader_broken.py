"""A file with a broken record in the middle: that record is passed over, and said where it is."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pubmed_case import HEAD, article

from residency.errors import StageFailed
from residency.pubmed import blocks
from residency.pubmed.blocks import Broken
from residency.pubmed.reader import records

BREAKS = {
    "an end tag is missing": lambda text: text.replace("</Article>", "", 1),
    "the record's own end tag is missing": lambda text: text.replace("</PubmedArticle>", "", 1),
    "a bare ampersand": lambda text: text.replace("<Title>J", "<Title>J & J", 1),
    "bytes that are not UTF-8": lambda text: text.replace("<Title>J", "<Title>\udcff\udcfe", 1),
    "a control character": lambda text: text.replace("<Title>J", "<Title>\x01", 1),
    "it stops within a tag": lambda text: text[: text.index("<Title") + 3],
}


def file(folder: Path, parts: list[str], tail: str = "\n</PubmedArticleSet>\n") -> tuple[Path, bytes]:
    body = f"{HEAD}<PubmedArticleSet>\n" + "\n".join(parts) + tail
    data = body.encode("utf-8", "surrogateescape")
    path = folder / "a.xml.gz"
    path.write_bytes(gzip.compress(data))
    return path, data


def pmids(path: Path, found: list[Broken]) -> list[str]:
    return [row["pmid"] for row in records(path, broken=found.append)]


@pytest.mark.parametrize("how", BREAKS)
def test_the_broken_record_alone_is_passed_over(tmp_path: Path, how: str) -> None:
    parts = [article(str(n)) for n in range(1, 8)]
    parts[3] = BREAKS[how](parts[3])
    path, data = file(tmp_path, [*parts, "<DeleteCitation><PMID>99</PMID></DeleteCitation>"])
    found: list[Broken] = []
    assert pmids(path, found) == ["1", "2", "3", "5", "6", "7", "99"]
    (one,) = found
    assert (one.pmid, one.offset) == ("4", data.index(b'<PMID Version="1">4<') - 61)
    assert data[one.offset :].startswith(b"<PubmedArticle>")
    assert one.reason
    with pytest.raises(StageFailed, match="well-formed"):
        list(records(path))


def test_the_offset_is_found_far_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK", 2000)
    parts = [
        article(str(n), article=f"<ArticleTitle>{'x' * (n % 700)}</ArticleTitle>") for n in range(1, 300)
    ]
    broken = {37, 38, 150, 298}
    for n in broken:
        parts[n - 1] = parts[n - 1].replace("</Article>", "")
    path, data = file(tmp_path, parts)
    found: list[Broken] = []
    assert pmids(path, found) == [str(n) for n in range(1, 300) if n not in broken]
    assert {int(one.pmid) for one in found} == broken
    for one in found:
        assert data[one.offset :].startswith(b"<PubmedArticle>")
        assert data[one.offset :].index(f">{one.pmid}<".encode()) < 200


@given(broken=st.sets(st.integers(0, 11)), how=st.sampled_from(sorted(BREAKS)), block=st.integers(200, 3000))
def test_any_records_may_be_broken(
    tmp_path_factory: pytest.TempPathFactory, broken: set[int], how: str, block: int
) -> None:
    parts = [article(str(n)) for n in range(12)]
    for n in broken:
        parts[n] = BREAKS[how](parts[n])
    path, _ = file(tmp_path_factory.mktemp("b"), parts)
    found: list[Broken] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK", block)
        assert pmids(path, found) == [str(n) for n in range(12) if n not in broken]
    assert len(found) == len(broken)


def test_a_file_that_is_cut_short_is_still_an_error(tmp_path: Path) -> None:
    parts = [article(str(n)) for n in range(1, 4)]
    for tail in ("", "\n<PubmedArticle><MedlineCitation>"):
        path, _ = file(tmp_path, parts, tail)
        with pytest.raises(StageFailed, match="cut short"):
            pmids(path, [])
    path, _ = file(tmp_path, parts)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StageFailed, match="cut short or damaged"):
        pmids(path, [])


def test_the_end_tag_within_a_comment_is_no_break(tmp_path: Path) -> None:
    parts = [article("1"), article("2", citation="<!-- </PubmedArticle> -->"), article("3")]
    path, _ = file(tmp_path, parts)
    found: list[Broken] = []
    assert pmids(path, found) == ["1", "2", "3"]
    assert found == []


def test_author_names_in_pubmeds_form(tmp_path: Path) -> None:
    authors = (
        "<AuthorList><Author><LastName>Smith</LastName><ForeName>John A</ForeName>"
        "<Initials>JA</Initials></Author>"
        "<Author><LastName>Jones</LastName><Initials>B</Initials><Suffix>Jr</Suffix></Author>"
        "<Author><LastName>Plato</LastName></Author>"
        "<Author><CollectiveName>The <i>X</i> Group</CollectiveName></Author></AuthorList>"
    )
    path, _ = file(tmp_path, [article("1", article=authors), article("2")])
    one, two = records(path, names=True)
    assert one["author_names"] == ["Smith JA", "Jones B Jr", "Plato", "The X Group"]
    assert one["authors"] == 4
    assert "author_names" not in two
    assert "author_names" not in next(records(path))
