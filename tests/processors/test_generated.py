"""Filters for generated answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors import generated


def sample(text: str, finish_reason: str = "stop") -> dict[str, str]:
    return {"text": text, "finish_reason": finish_reason}


def test_words() -> None:
    assert generated.words({}, sample("one two three"), least=3, most=3)
    assert not generated.words({}, sample("one two"), least=3)
    assert not generated.words({}, sample("one two"), most=1)


def test_questions_and_ends() -> None:
    assert generated.question({}, sample(" Does it work? "))
    assert not generated.question({}, sample("It does."))
    assert not generated.question({}, sample("First?\nSecond?"))
    assert generated.ended({}, sample("x"))
    assert not generated.ended({}, sample("x", "length"))


def test_numbers_that_the_source_has() -> None:
    row = {"abstract": "Of 120 patients 3.5 % died (p = 0.05)."}
    assert generated.grounded(row, sample("120 patients, 3.5 %")) == 1.0
    assert generated.grounded(row, sample("120 patients, 7 %")) == 0.5
    assert generated.grounded(row, sample("12 of 35")) == 0.0
    assert generated.grounded(row, sample("many")) == 1.0
    assert generated.grounded({"parts": [{"text": "5 mg"}]}, sample("5 mg"), column="parts") == 1.0


@given(st.text(), st.text())
def test_any_text(source: str, answer: str) -> None:
    assert 0.0 <= generated.grounded({"abstract": source}, sample(answer)) <= 1.0
    assert generated.grounded({"abstract": answer}, sample(answer)) == 1.0
