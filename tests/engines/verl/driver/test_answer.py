"""The model's own words among those of its tools."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.verl.driver.answer import TURNS, answer_of, own_text, turns


class Letters:
    """Token n is the n-th letter; 0 is special."""

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        return "".join(chr(96 + i) if i else ("" if skip_special_tokens else "#") for i in ids)


def test_turns() -> None:
    ids, mask = [1, 2, 0, 24, 25, 3, 4, 0], [1, 1, 1, 0, 0, 1, 1, 1]
    assert turns(ids, mask, Letters()) == ["ab", "cd"]
    assert own_text(ids, mask, Letters()) == "cd"


def test_a_tool_that_has_the_last_word_is_not_the_answer() -> None:
    assert own_text([1, 2, 24], [1, 1, 0], Letters()) == "ab"
    assert own_text([24], [0], Letters()) == ""
    assert own_text([], [], Letters()) == ""


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="3 response tokens, but a mask of 2"):
        turns([1, 2, 3], [1, 1], Letters())


def test_what_a_reward_manager_sees() -> None:
    assert answer_of([1, 2, 24], {TURNS: ["call", "answer"]}, Letters()) == ("answer", ["call", "answer"])
    assert answer_of([1, 2, 0], None, Letters()) == ("ab", ["ab"])
    assert answer_of([1, 2, 0], {"turn_scores": []}, Letters()) == ("ab", ["ab"])
    assert answer_of([24], {TURNS: []}, Letters()) == ("", [])


@given(st.lists(st.tuples(st.integers(0, 26), st.booleans()), max_size=40))
def test_every_own_token_is_in_one_turn(tokens: list[tuple[int, bool]]) -> None:
    ids, mask = [t for t, _ in tokens], [int(own) for _, own in tokens]
    own = [t for t, mine in tokens if mine]
    assert "".join(turns(ids, mask, Letters())) == Letters().decode(own, skip_special_tokens=True)
