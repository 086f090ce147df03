"""Passages: within their bound, with their title, nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import Missing, RecipeInvalid
from residency.pubmed.chunks import Chunking, chunks, contents, passages, tokens_of, words

text = st.lists(
    st.sampled_from(
        ["alpha", "beta.", "Gamma", "delta,", "e.g.", "(p", "<", "0.05).", "Omega.", "x" * 90, "\n"]
    ),
    max_size=120,
).map(" ".join)


@given(title=st.lists(st.just("word"), max_size=30).map(" ".join), body=text, most=st.integers(8, 60))
def test_every_piece_fits_and_nothing_is_lost(title: str, body: str, most: int) -> None:
    pieces = chunks(title, body, most)
    assert all(words(piece) <= most for piece in pieces)
    heads = {piece.partition("\n")[0] for piece in pieces}
    assert len(heads) == 1
    assert " ".join(piece.partition("\n")[2] for piece in pieces).split() == body.split()


@given(body=text, most=st.integers(20, 60), overlap=st.integers(1, 19))
def test_overlap_repeats_whole_sentences(body: str, most: int, overlap: int) -> None:
    pieces = chunks("Title", body, most, overlap=overlap)
    assert all(words(piece) <= most for piece in pieces)
    assert len(pieces) < 200
    found = [piece.partition("\n")[2].split() for piece in pieces]
    at = 0
    everything = body.split()
    for piece in found:
        start = next(i for i in range(at, -1, -1) if everything[i : i + len(piece)] == piece)
        assert at - start <= overlap
        at = start + len(piece)
    assert at == len(everything)


def test_a_word_longer_than_the_room_is_cut() -> None:
    pieces = chunks("T", "x" * 100, 20, count=len)
    assert all(len(piece) <= 20 for piece in pieces)
    assert "".join(piece.partition("\n")[2] for piece in pieces) == "x" * 100


def test_one_passage_a_record_in_search_r1s_form() -> None:
    rows = [{"pmid": 7, "title": 'On "X"', "abstract": "A: b.\nC: d."}]
    assert list(passages(rows, None)) == [{"id": "7", "contents": '"On "X""\nA: b.\nC: d.'}]
    assert [p["id"] for p in passages([{**rows[0], "abstract": "Word. " * 30}], Chunking(words=12))][:3] == [
        "7",
        "7-2",
        "7-3",
    ]
    assert contents("T", "") == '"T"\n'


def test_tokens_are_counted_by_the_named_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    how = Chunking(tokens=16, tokenizer=str(tmp_path))
    count = how.count()
    assert count("a-b, c") == 5
    rows = [{"pmid": 1, "title": "T", "abstract": "One, two; three. " * 20}]
    assert all(count(p["contents"]) <= 16 for p in passages(rows, how))
    with pytest.raises(Missing, match="holds no tokenizer"):
        tokens_of(str(tmp_path / "none" / "here"))
    with pytest.raises(RecipeInvalid, match="tokenizer"):
        Chunking(tokens=16).count()
