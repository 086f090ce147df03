"""How an answer is read: what each reading finds, and what none may find."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.evaluation import extract
from residency.evaluation.extract import final_response, first_letter, lenient, tagged, whole

ROW = {
    "labels": ["A", "B", "C", "D"],
    "options": {
        "A": "Aspirin",
        "B": "A beta blocker",
        "C": "C-reactive protein",
        "D": "None of the above",
    },
}
YES_NO = {"labels": ["yes", "no"], "options": {}}
STRICT = (tagged, whole, final_response)


@pytest.mark.parametrize(
    ("text", "strict", "read"),
    [
        ("<answer>B</answer>", (tagged,), "B"),
        ("I weigh A and C. <answer> (b) </answer> Done.", (tagged,), "B"),
        ("<answer>B. A beta blocker</answer>", (tagged,), "B"),
        ("<answer>beta blocker</answer>", (tagged,), "B"),
        ("<answer>B. Aspirin</answer>", (), None),
        ("<answer>A, B</answer>", (), None),
        ("<answer>E</answer>", (), None),
        ("<answer>B</answer> or <answer>C</answer>", (), "C"),
        ("<answer>B", (), "B"),
        ("B", (whole,), "B"),
        ("(B)", (whole,), "B"),
        ("B) A beta blocker.", (whole,), "B"),
        ("the answer is B", (whole,), "B"),
        ("B\n\nBecause of its effect on the heart.", (), "B"),
        ("Because of its effect.\nB.", (), "B"),
        ("I think that the answer is **B**, because of its effect.", (), "B"),
        ("The answer is B. No, the correct answer is D.", (), "D"),
        ("The answer is B. No, the correct answer is E.", (), None),
        ("Answer: C-reactive protein", (), "C"),
        ("Answer: C-section", (), None),
        ("The answer is A patient with fever.", (), None),
        ("The answer is A.", (whole,), "A"),
        ("## Thinking\n\nD it may be.\n\n## Final Response\n\nB", (final_response,), "B"),
        (
            "## Thinking\n\nHm.\n\n## Final Response\n\nThe answer is D. None of the above",
            (final_response,),
            "D",
        ),
        ("## Final Response\n\nAll in all the answer is C, for its rise.", (), "C"),
        ("## Final Response\nA\n## Final Response\nB", (), "B"),
        ("A, B, C and D are all possible; a patient with B.", (), None),
        ("", (), None),
    ],
)
def test_letters(text: str, strict: tuple[object, ...], read: str | None) -> None:
    said = {function: function(text, ROW) for function in STRICT}
    assert said == {function: (read if function in strict else None) for function in STRICT}
    assert lenient(text, ROW) == read


@pytest.mark.parametrize(
    ("text", "strict", "read"),
    [
        ("<answer>Yes</answer>", "yes", "yes"),
        ("yes", None, "yes"),
        ("The answer is no.", None, "no"),
        ("Answer: **No**", None, "no"),
        ("yesterday", None, None),
        ("It is not yes that I would say.", None, None),
        ("<answer>maybe</answer>", None, None),
    ],
)
def test_words(text: str, strict: str | None, read: str | None) -> None:
    assert tagged(text, YES_NO) == strict
    assert lenient(text, YES_NO) == read


def test_the_published_reading_takes_an_article_for_a_letter() -> None:
    assert first_letter("Therefore, the answer is (D) None", ROW) == "D"
    assert first_letter("A patient with D", ROW) == "A"
    assert first_letter("E or F", ROW) is None


FUNCTIONS = (*STRICT, lenient, first_letter)
LETTERS = string.ascii_uppercase


@st.composite
def rows(draw: st.DrawFn) -> dict[str, object]:
    words = st.text(string.ascii_lowercase + " -", min_size=3, max_size=12).filter(
        lambda text: len(text.strip(" -")) > 2 and len(text.split()) > 0
    )
    texts = draw(st.lists(words, min_size=2, max_size=10, unique_by=lambda text: "".join(text.split())))
    options = dict(zip(LETTERS, texts, strict=False))
    return {"labels": list(options), "options": options}


@given(st.text(max_size=300), rows())
def test_any_text_gives_a_label_of_the_row_or_nothing(text: str, row: dict[str, object]) -> None:
    for function in FUNCTIONS:
        assert function(text, row) in [None, *row["labels"]]  # type: ignore[misc]


@given(rows(), st.data(), st.sampled_from(["{}", "({})", "{}.", "{}:", "[{}]", "Option {}", " {}\n"]))
def test_an_option_is_read_and_one_outside_is_not(
    row: dict[str, object], data: st.DataObject, form: str
) -> None:
    letter = data.draw(st.sampled_from(row["labels"]))  # type: ignore[arg-type]
    outside = LETTERS[len(row["labels"])]  # type: ignore[arg-type]
    for wrap, function in (
        ("<answer>{}</answer>", tagged),
        ("{}", whole),
        ("## Thinking\nHm.\n\n## Final Response\n\n{}", final_response),
    ):
        assert function(wrap.format(form.format(letter)), row) == letter
        assert lenient(wrap.format(form.format(letter)), row) == letter
        assert function(wrap.format(form.format(outside)), row) is None
        assert lenient(wrap.format(form.format(outside)), row) is None


WORDS = st.lists(st.text(string.ascii_letters + ".,()'", min_size=1, max_size=9), min_size=3, max_size=30)


@given(WORDS, st.sampled_from(LETTERS[:4]))
def test_strict_readings_find_no_letter_in_running_text(words: list[str], letter: str) -> None:
    running = f"{' '.join(words)} and so {letter} it could be, or something else"
    assert [function(running, ROW) for function in STRICT] == [None, None, None]


@given(st.text(max_size=100), st.sampled_from(LETTERS[:4]), st.text(max_size=100))
def test_lenient_agrees_with_a_strict_reading(before: str, letter: str, after: str) -> None:
    text = f"{before}<answer>{letter}</answer>{after}"
    if tagged(text, ROW) is not None and "#" not in text:
        assert lenient(text, ROW) == letter


@pytest.mark.parametrize(
    "piece", ["<answer>", "answer is ", "answer: (", "## Final Response\n", "(((((", "a "]
)
def test_the_time_grows_no_faster_than_the_text(piece: str) -> None:
    text = piece * (200_000 // len(piece))
    started = time.perf_counter()
    for function in FUNCTIONS:
        function(text, ROW)
    assert time.perf_counter() - started < 5


def test_the_module_lists_its_readings() -> None:
    assert all(function.__doc__ for function in FUNCTIONS)
    assert {name for name in vars(extract) if not name.startswith("_")} >= {f.__name__ for f in FUNCTIONS}
