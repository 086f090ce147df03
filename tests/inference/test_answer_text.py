"""The text of an answer token by token, and stop texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.inference.text import Text

SAID = "Thirty rats 🐀 were given 5 mg/kg — “no”, naïve ℞ 患者. <answer>yes</answer>"


class Letters:
    """A tokenizer whose tokens are bytes."""

    def decode(self, tokens: Any, skip_special_tokens: bool = True, **_: Any) -> str:
        kept = [t for t in tokens if t < 256 or not skip_special_tokens]
        return b"".join(bytes([t]) if t < 256 else b"<s>" for t in kept).decode(errors="replace")


@pytest.fixture(scope="module")
def tokenizer(tiny: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny)


def test_no_half_character_is_shown(tokenizer: Any) -> None:
    ids = tokenizer(SAID)["input_ids"]
    text = Text(tokenizer, tokenizer("Were they?")["input_ids"])
    shown = []
    for token in ids:
        text.push([token])
        assert "\ufffd" not in text.shown
        shown.append(text.shown)
    text.push([], last=True)
    assert text.text == SAID
    assert all(SAID.startswith(part) for part in shown)
    assert len(set(shown)) > 10


@given(st.text(max_size=40), st.lists(st.integers(1, 5), max_size=40))
def test_any_text_in_any_pieces(said: str, sizes: list[int]) -> None:
    data = said.encode("utf-8", "replace")
    text = Text(Letters(), [65, 66])
    at = 0
    for size in sizes:
        text.push(list(data[at : at + size]))
        at += size
        assert said.startswith(text.shown) or "\ufffd" in said
    text.push(list(data[at:]), last=True)
    assert text.text == data.decode()


@given(st.text("ab<", max_size=30), st.lists(st.text("ab<", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_stop_text_ends_it_wherever_it_falls(said: str, stops: list[str]) -> None:
    text = Text(Letters(), [], stops)
    shown = ""
    for letter in said:
        if text.stopped:
            break
        text.push(list(letter.encode()))
        assert text.shown.startswith(shown)
        shown = text.shown
    if not text.stopped:
        text.push([], last=True)
    ends = sorted(end for stop in stops if (end := said.find(stop)) >= 0)
    # The first to be complete wins; of two that end with the same letter the one that begins first.
    done = [said.find(stop) + len(stop) for stop in stops if stop in said]
    if not ends:
        assert (text.text, text.stopped) == (said, False)
    else:
        first = min(done)
        assert text.stopped
        assert text.text == said[: min(at for s in stops if (at := said[:first].find(s)) >= 0)]
    assert not any(stop in text.text for stop in stops)


def test_what_may_be_a_stop_text_is_held_back() -> None:
    text = Text(Letters(), [], ["</answer>"])
    text.push(list(b"yes</ans"))
    assert (text.shown, text.text) == ("yes", "yes</ans")
    text.push(list(b"x"))
    assert text.shown == "yes</ansx"


def test_special_tokens_are_left_out_or_not() -> None:
    for skip, want in ((True, "ab"), (False, "a<s>b")):
        text = Text(Letters(), [], skip_special_tokens=skip)
        text.push([97, 300, 98], last=True)
        assert text.text == want


def test_half_a_character_at_the_end_is_not_lost() -> None:
    text = Text(Letters(), [])
    text.push(list("é".encode()[:1]))
    assert text.shown == ""
    text.push([], last=True)
    assert text.text == "\ufffd"
