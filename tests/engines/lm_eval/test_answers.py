"""Reading an answer: what counts, what does not, and never a label in running text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.engines.lm_eval.answers import extract, within_tag

YES_NO = ("yes", "no")


@pytest.mark.parametrize(
    ("text", "strict", "lenient"),
    [
        ("<answer>yes</answer>", "yes", "yes"),
        ("  <ANSWER>\n YES </Answer>  ", "yes", "yes"),
        ("< answer >no< /answer >", "no", "no"),
        ("The rats were fed. <answer>no</answer> That is all.", "no", "no"),
        ("yes", None, None),
        ("The answer is yes.", None, None),
        ("<answer>yesterday</answer>", None, None),
        ("<answer>not yes</answer>", None, None),
        ("<answer>yes or no</answer>", None, None),
        ("<answer>maybe</answer>", None, None),
        ("<answer></answer>", None, None),
        ("", None, None),
        ("<answer>yes.</answer>", None, "yes"),
        ('<answer> "No" </answer>', None, "no"),
        ("<answer>yes", None, "yes"),
        ("<answer>yes</answer> <answer>no</answer>", None, "no"),
        ("<answer>yes</answer><answer>no", None, "no"),
        ("<answer><answer>yes</answer></answer>", None, "yes"),
        ("</answer>yes<answer>", None, None),
        ("<answer>yes</answer></answer>", None, "yes"),
        ("<answer>yes<answer>no</answer>", None, "no"),
        ("<answer>yes</answer>\n</answer>", None, "yes"),
        ("<answers>yes</answers>", None, None),
        ("<reply>yes</reply>", None, None),
    ],
)
def test_extract(text: str, strict: str | None, lenient: str | None) -> None:
    assert extract(text, YES_NO) == strict
    assert extract(text, YES_NO, mode="lenient") == lenient


def test_labels_of_several_words_and_their_spelling() -> None:
    labels = ("Stage II", "Stage III")
    assert extract("<answer>stage\n ii</answer>", labels) == "Stage II"
    assert extract("<answer>stage i</answer>", labels) is None
    assert extract("<verdict>Stage III</verdict>", labels, tag="verdict") == "Stage III"


@given(st.text())
def test_strict_reads_no_more_than_lenient(text: str) -> None:
    for wrapped in (text, f"<answer>{text}</answer>", f"{text}<answer>yes</answer>{text}"):
        strict = extract(wrapped, YES_NO)
        assert strict is None or extract(wrapped, YES_NO, mode="lenient") == strict


@given(st.text(alphabet="yesno <>/answer\n", max_size=60))
def test_what_is_read_stands_alone_in_a_tag(text: str) -> None:
    found = extract(text, YES_NO)
    if found is not None:
        inside = within_tag(text)
        assert inside is not None
        assert inside.strip().lower() == found


def test_hostile_text_takes_no_time() -> None:
    started = time.perf_counter()
    for text in ("<" + " " * 200_000, "< " * 100_000, "<answer>" * 50_000, "<answer" + "\t" * 200_000):
        assert extract(text, YES_NO) is None
        extract(text, YES_NO, mode="lenient")
    assert time.perf_counter() - started < 2
