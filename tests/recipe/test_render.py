"""residency.recipe.render"""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Span
from residency.recipe.render import _width, render, summary


def shown(text: str, span: Span, **more: object) -> list[str]:
    found = Diagnostics(sources={"f.yaml": text})
    found.add("some-code", "it is wrong", span)
    return render(found, **more).splitlines()  # type: ignore[arg-type]


def test_the_whole() -> None:
    found = Diagnostics(sources={"f.yaml": "a: 1\nlearning_rte: 2\n", "--set x=1": "--set x=1"})
    found.add(
        "unknown-key",
        "`learning_rte` is not known",
        Span("f.yaml", 2, 1, 2, 13),
        hint="did you mean `learning_rate`?",
        notes=[("first written here", Span("f.yaml", 1, 1, 1, 2))],
    )
    found.add("unused", "x is not used", Span("--set x=1", 1, 7, 1, 8), severity="warning")
    assert render(found) == (
        "warning[unused]: x is not used\n"
        " --> command line, --set x=1\n"
        "  |\n"
        "1 | --set x=1\n"
        "  |       ^\n"
        "\n"
        "error[unknown-key]: `learning_rte` is not known\n"
        " --> f.yaml:2:1\n"
        "  |\n"
        "2 | learning_rte: 2\n"
        "  | ^^^^^^^^^^^^\n"
        "  = note: first written here\n"
        " --> f.yaml:1:1\n"
        "  |\n"
        "1 | a: 1\n"
        "  | -\n"
        "  = hint: did you mean `learning_rate`?\n"
        "\n"
        "1 error, 1 warning"
    )


def test_a_tab_moves_the_caret() -> None:
    lines = shown("\tb:\tx\n", Span("f.yaml", 1, 5, 1, 6))
    assert lines[3:5] == ["1 |     b:  x", "  |         ^"]


def test_a_wide_character_moves_the_caret_by_two() -> None:
    lines = shown("日本: é x\n", Span("f.yaml", 1, 7, 1, 8))
    assert lines[3:5] == ["1 | 日本: é x", "  |         ^"]


def test_of_a_long_line_the_part_around_the_caret_is_shown() -> None:
    text = "a" * 300 + "MARK" + "b" * 300
    lines = shown(text, Span("f.yaml", 1, 301, 1, 305), width=60)
    snippet, caret = lines[3][4:], lines[4][4:]
    assert len(snippet) <= 61
    assert snippet.startswith("…")
    assert snippet.endswith("…")
    assert snippet[caret.index("^") : caret.rindex("^") + 1] == "MARK"


def test_the_start_of_a_long_line_stays_when_the_caret_is_there() -> None:
    lines = shown("KEY: " + "b" * 300, Span("f.yaml", 1, 1, 1, 4), width=60)
    assert lines[3].startswith("1 | KEY: bbb")
    assert lines[4] == "  | ^^^"


def test_what_cannot_be_shown_is_left_out() -> None:
    assert shown("a\n", Span("other.yaml", 1, 1, 1, 2))[1:] == [" --> other.yaml:1:1", "", "1 error"]
    assert shown("a\n", Span("f.yaml", 9, 1, 9, 2))[1:] == [" --> f.yaml:9:1", "", "1 error"]


def test_a_span_behind_the_line_and_one_of_several_lines() -> None:
    assert shown("ab\n", Span("f.yaml", 1, 5, 1, 5))[4] == "  |     ^"
    assert shown("ab: x\n  y\n", Span("f.yaml", 1, 5, 2, 4))[4] == "  |     ^"


def test_nothing_steers_the_terminal() -> None:
    found = Diagnostics(sources={"f": "a\x1b[31mb\u202e\n"})
    found.add("c", "key `\x1b[31m\nx`", Span("f", 1, 1, 1, 2), hint="\x07")
    text = render(found)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", text)


def test_colour_changes_no_text() -> None:
    found = Diagnostics(sources={"f": "a: 1\n"})
    found.add("c", "m", Span("f", 1, 1, 1, 2), hint="h", notes=[("n", Span("f", 1, 4, 1, 5))])
    coloured = render(found, color=True)
    assert coloured != render(found)
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == render(found)


def test_summary_counts() -> None:
    found = Diagnostics()
    assert summary(found) == "no errors"
    found.add("a", "x", Span("f", 1, 1, 1, 1), severity="warning")
    assert summary(found) == "1 warning"
    found.add("a", "x", Span("f", 1, 1, 1, 1))
    found.add("a", "y", Span("f", 1, 1, 1, 1))
    assert summary(found) == "2 errors, 1 warning"


@given(st.text(max_size=80), st.integers(1, 90), st.integers(0, 90), st.integers(20, 60))
def test_the_caret_stands_under_what_it_marks(text: str, column: int, length: int, width: int) -> None:
    lines = (text.splitlines() or [""])[:1]
    rendered = shown(lines[0], Span("f.yaml", 1, column, 1, column + length), width=width)
    if not lines[0]:
        return
    snippet, caret = rendered[3][4:], rendered[4][4:]
    assert sum(_width(c) for c in snippet) <= width + 1 or column > len(lines[0])
    assert set(caret) <= {" ", "^"}
    if column <= len(lines[0]) and lines[0][column - 1].isalnum():
        before = len(caret) - len(caret.lstrip())
        at = 0
        for character in snippet:
            if at == before:
                assert character == lines[0][column - 1] or _width(character) == 0
                break
            at += _width(character)
