from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import StageFailed
from residency.retrieval.documents import IDS, LINES, Documents, contents, write

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def document(id_: str, text: str = "text") -> dict[str, str]:
    return {"id": id_, "title": f"T {id_}", "text": text}


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=30, unique_by=lambda pair: pair[0]))
def test_every_document_is_found_by_position_and_by_id(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    count, _ = write(folder, (document(id_, text) for id_, text in pairs))
    found = Documents(folder)
    assert count == len(found) == len(pairs)
    for position, (id_, text) in enumerate(pairs):
        assert found[position]["text"] == text
        assert found.position(id_) == position
        assert found.by_id(id_) == found[position]
    assert found.by_id("nobody's id") is None


def test_contents_are_search_r1s_and_kept_as_they_came(tmp_path: Path) -> None:
    own = {"id": "2", "title": "T", "text": "x", "contents": "T\nx"}
    write(tmp_path, [document("1"), own])
    found = Documents(tmp_path)
    assert found[0]["contents"] == contents("T 1", "text") == '"T 1"\ntext'
    assert found[1]["contents"] == "T\nx"
    assert "contents" not in json.loads((tmp_path / LINES).read_text().splitlines()[0])


def test_of_a_hash_that_two_ids_share_the_right_document_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("residency.retrieval.documents._hash", lambda id_: len(id_))
    write(tmp_path, [document("aa"), document("b"), document("cc")])
    found = Documents(tmp_path)
    assert [found.position(id_) for id_ in ("aa", "b", "cc", "dd", "e")] == [0, 1, 2, None, None]


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no documents to index"):
        write(tmp_path, [])
    with pytest.raises(StageFailed, match="two documents of the corpus have the id 7"):
        write(tmp_path, [document("7"), document("8"), document("7")])
    write(tmp_path, [document("7"), document("8")])
    whole = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(whole[:-3])
    with pytest.raises(StageFailed, match="bytes where"):
        Documents(tmp_path)
    (tmp_path / LINES).write_bytes(whole)
    (tmp_path / IDS).unlink()
    with pytest.raises(StageFailed, match="cannot be read"):
        Documents(tmp_path)
    write(tmp_path, [document("7")])
    with pytest.raises(IndexError):
        Documents(tmp_path)[1]
