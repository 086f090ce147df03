"""Messages of a question and a style; examples; the hash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.lm_eval import questions
from residency.evaluation.choices import BadRow, item
from residency.evaluation.prompts import Asked, Examples, prompt_hash, render, second, text
from residency.evaluation.styles import Style, names, own, read, style
from residency.paths import PROJECT


def choice_row(number: int = 1, **more: Any) -> dict[str, Any]:
    return item(
        {
            "id": f"q{number}",
            "question": f"Which drug, {number}?",
            "options": {"A": "aspirin", "B": "{braces}", "C": "none"},
            "label": "B",
            **more,
        },
        number,
    )


def contents(asked: Asked) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in asked.messages]


def test_a_row_without_a_style_is_asked_as_it_is() -> None:
    alpaca = {
        "instruction": "Human?",
        "input": "Rats. ",
        "output": "<answer>no</answer>",
        "system": "Be brief.",
    }
    found = render(questions.item(alpaca, ("yes", "no"), 1), Style())
    assert contents(found) == [("system", "Be brief."), ("user", "Human?\nRats. ")]
    assert text(found.messages) == "Be brief.\n\nHuman?\nRats. \n"
    assert contents(render(choice_row(), Style())) == [
        ("user", "Which drug, 1?\n(A) aspirin\n(B) {braces}\n(C) none")
    ]


def test_templates() -> None:
    given = style(
        {
            "system": "Letters {letters}.",
            "question": "{question} [{options}] {{x}} {row.subject} {context}",
            "option": "{letter}={text}",
            "between": "; ",
            "then": "Among {first} to {last}:",
        }
    )
    asked = render(choice_row(subject="drugs", context=["One.", {"title": "T", "text": "Two."}]), given)
    assert contents(asked) == [
        ("system", "Letters A, B, C."),
        ("user", "Which drug, 1? [A=aspirin; B={braces}; C=none] {x} drugs One.\n\nT\nTwo."),
    ]
    assert asked.then == "Among A to C:"
    assert [m["role"] for m in second(asked, "Hm.")] == ["system", "user", "assistant", "user"]
    assert text(second(asked, "Hm.")).endswith("Hm.\n\nAmong A to C:\n")
    with pytest.raises(BadRow, match="no field `subject`"):
        render(choice_row(), given)


def test_system() -> None:
    row = choice_row(system="Of the row.")
    assert contents(render(row, Style()))[0] == ("system", "Of the row.")
    assert contents(render(row, Style(system="Of the style.")))[0] == ("system", "Of the style.")
    assert contents(render(row, Style(system="")))[0][0] == "user"


def test_open_and_closed_book() -> None:
    row = choice_row(context=["One.", "Two.", "Three."])
    open_book = Style(question="{context} {question}", book="open", passages=2)
    assert contents(render(row, open_book)) == [("user", "One.\n\nTwo. Which drug, 1?")]
    with pytest.raises(BadRow, match="no evidence"):
        render(choice_row(), open_book)
    alpaca = {"instruction": "Human?", "input": "Rats.", "output": "<answer>no</answer>"}
    found = render(questions.item(alpaca, ("yes", "no"), 1), Style(book="closed"))
    assert contents(found) == [("user", "Human?")]


def test_examples_are_turns_or_text() -> None:
    drawn = [choice_row(number) for number in (2, 3)]
    asked = render(choice_row(), Style(question="{question}", shots=2), drawn)
    assert contents(asked) == [
        ("user", "Which drug, 2?"),
        ("assistant", "<answer>B</answer>"),
        ("user", "Which drug, 3?"),
        ("assistant", "<answer>B</answer>"),
        ("user", "Which drug, 1?"),
    ]
    one = render(
        choice_row(), Style(question="{question}", shots=2, turns=False, example="{label}: {answer}"), drawn
    )
    assert contents(one) == [
        ("user", "Which drug, 2?\nB: {braces}\n\nWhich drug, 3?\nB: {braces}\n\nWhich drug, 1?")
    ]


@given(st.integers(0, 30), st.integers(1, 5), st.integers(0, 2**32))
def test_an_example_is_never_the_question_itself(which: int, shots: int, seed: int) -> None:
    pool = [choice_row(number) for number in range(31)]
    asked = {**choice_row(which), "id": "another name"}
    chosen = Examples(pool, Style(shots=shots, seed=seed, examples="x")).of(asked)
    assert len(chosen) == shots
    assert asked["question"] not in [one["question"] for one in chosen]
    assert len({one["id"] for one in chosen}) == shots
    again = Examples(pool, Style(shots=shots, seed=seed, examples="x")).of(asked)
    assert [one["id"] for one in again] == [one["id"] for one in chosen]


def test_another_seed_draws_others_and_too_few_are_a_mistake() -> None:
    pool = [choice_row(number) for number in range(40)]
    asked = choice_row(99)
    drawn = {
        tuple(one["id"] for one in Examples(pool, Style(shots=5, seed=seed, examples="x")).of(asked))
        for seed in range(5)
    }
    assert len(drawn) == 5
    with pytest.raises(BadRow, match="3 examples are asked for, and 1 are there"):
        Examples([choice_row(99), choice_row(1)], Style(shots=3, examples="x")).of(asked)


def test_the_hash_is_of_what_is_asked() -> None:
    first, other = render(choice_row(1), Style()), render(choice_row(2), Style())
    assert prompt_hash([first, other]) == prompt_hash([list(first.messages), list(other.messages)])
    hashes = {
        prompt_hash([]),
        prompt_hash([first]),
        prompt_hash([first, other]),
        prompt_hash([other, first]),
        prompt_hash([render(choice_row(1), Style(system="x"))]),
        prompt_hash([render(choice_row(1), Style(then="{last}"))]),
        prompt_hash([render(choice_row(1), Style(then="{first}"))]),
    }
    assert len(hashes) == 7
    # Known beforehand, so that a change of the form does not pass unseen.
    assert prompt_hash([[{"role": "user", "content": "a"}]]) == (
        "5dbd29d2dcd6c4f209d73d81974938cd649035102e23411c8367a973b2e4f230"
    )


@pytest.mark.parametrize("name", sorted(own(PROJECT)))
def test_each_shipped_style_asks_a_question_with_options(name: str) -> None:
    keys = read(own(PROJECT)[name])
    keys |= {"examples": "x"} if keys.get("shots") else {}
    given = style(keys)
    pool = [choice_row(number, context="Known.") for number in range(2, 9)]
    row = choice_row(context="Known.")
    for one in (*pool, row):
        one["row"] = {"output": "<answer>A</answer>"}
    asked = render(row, given, Examples(pool, given).of(row))
    last = asked.messages[-1]["content"]
    assert "Which drug, 1?" in last
    assert "aspirin" in last
    names_it = given.question is None or {"context", "asked"} & set(names(given.question))
    assert ("Known." in last) == (given.book != "closed" and bool(names_it))
