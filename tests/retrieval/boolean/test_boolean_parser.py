"""The reading of queries: what is wrong is said with its place, and no text whatever breaks it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.retrieval.boolean.engine import QueryRejected
from residency.retrieval.boolean.lexer import LONGEST
from residency.retrieval.boolean.parser import DEEPEST, parse
from residency.retrieval.boolean.syntax import Chain, Node, Range, Term, Words


def plain(node: Node) -> object:
    """A tree as nested tuples."""
    if isinstance(node, Chain):
        return (plain(node.first), *((operator, plain(operand)) for operator, operand in node.rest))
    if isinstance(node, Words):
        return " ".join(node.texts)
    if isinstance(node, Range):
        return (node.low, node.high, node.field.name)
    assert isinstance(node, Term)
    return (node.text, node.field.name if node.field else None, node.quoted)


@pytest.mark.parametrize(
    ("query", "tree"),
    [
        ("asthma", "asthma"),
        ("a OR b AND c NOT d", ("a", ("OR", "b"), ("AND", "c"), ("NOT", "d"))),
        ("a OR (b AND c)", ("a", ("OR", ("b", ("AND", "c"))))),
        ("((a))", "a"),
        ("a (b OR c)", ("a", ("AND", ("b", ("OR", "c"))))),
        ("a AND NOT b", ("a", ("NOT", "b"))),
        ("a & b | c", ("a", ("AND", "b"), ("OR", "c"))),
        ("a and b or c", "a and b or c"),  # operators are in capitals
        ("heart attack[ti]", ("heart attack", "Title", False)),
        ('"heart attack" [ Title ]', ("heart attack", "Title", True)),
        ("“heart attack”[ti]", ("heart attack", "Title", True)),
        ("x[ti] y[TIAB]", (("x", "Title", False), ("AND", ("y", "Title/Abstract", False)))),
        ('x "y z" w[ti]', ("x", ("AND", ("y z", None, True)), ("AND", ("w", "Title", False)))),
        ("2000:2010[dp]", ("2000", "2010", "Date - Publication")),
        ('"2000/01/01"[PDAT] : "3000"[pdat]', ("2000/01/01", "3000", "Date - Publication")),
        (
            "asthma 2000 : 2010 [dp] x",
            ("asthma", ("AND", ("2000", "2010", "Date - Publication")), ("AND", "x")),
        ),
        ("10:20[uid]", ("10", "20", "UID")),
        ("treatment: a review[ti]", ("treatment a review", "Title", False)),
        ("PNAS[Journal:__jrid6653]", ("PNAS", "Journal", False)),
    ],
)
def test_trees(query: str, tree: object) -> None:
    assert plain(parse(query)[0]) == tree


@pytest.mark.parametrize(
    ("query", "reason", "position"),
    [
        ("", "empty", 0),
        ("   ", "empty", 0),
        ("asthma AND (copd", "bracket is never closed", 11),
        ("asthma)", "bracket was never opened", 6),
        ("a AND ()", "nothing between", 6),
        ("a AND", "AND has nothing on its right", 2),
        ("(a OR) b", "OR has nothing on its right", 3),
        ("OR a", "OR has nothing on its left", 0),
        ("a AND (NOT b)", "NOT has nothing on its left", 7),
        ("a AND OR b", "side by side", 6),
        ("a OR NOT b", "side by side", 5),
        ('a AND "b c', "quotation mark is never closed", 6),
        ("a[ti", "square bracket is never closed", 1),
        ("a]", "square bracket was never opened", 1),
        ("[ti] a", "stands after no term", 0),
        ("a[tiba]", r"no search field \[tiba\]", 1),
        ("a[]", "field tag is empty", 1),
        ("a[mh:exp]", "nothing that", 1),
        ("hip pain[tiab:~2]", "quotation marks", 0),
        ('x OR "hip pain"[mh:~2]', "not available", 15),
        ('"hip pain"[tiab:~two]', "no distance", 10),
        ('"hip pain"[tiab:~1001]', "no distance", 10),
        ("a OR #3", "earlier search", 5),
        ("(" * (DEEPEST + 1) + "a", "nested more than", DEEPEST),
        ("x" * (LONGEST + 1), "at most", LONGEST),
    ],
)
def test_what_is_wrong_and_where(query: str, reason: str, position: int) -> None:
    with pytest.raises(QueryRejected, match=reason) as caught:
        parse(query)
    assert caught.value.position == position
    lines = caught.value.caret().split("\n")
    assert len(lines) == 2
    assert lines[1].endswith("^")


def test_an_error_guesses_what_was_meant() -> None:
    with pytest.raises(QueryRejected) as caught:
        parse("asthma[Title/Abstrat]")
    assert caught.value.hint == "did you mean [title/abstract]?"


def test_an_error_passes_between_processes() -> None:
    error = QueryRejected("why", 3, "the query", "do this")
    again = pickle.loads(pickle.dumps(error))
    assert (again.reason, again.position, again.query, again.hint) == ("why", 3, "the query", "do this")
    assert again.exit_code == 2


def test_the_caret_stands_under_the_place_in_a_long_query() -> None:
    query = "asthma OR " * 50 + "copd[zz] OR x" + " OR y" * 50
    with pytest.raises(QueryRejected) as caught:
        parse(query)
    line, caret = caught.value.caret().split("\n")
    assert line[len(caret) - 1 :].startswith("[zz]")


@pytest.mark.parametrize(
    ("query", "warning"),
    [
        ("(a OR b)[tiab]", r"\[tiab\] after a bracket was ignored"),
        ("treatment: a review", "a colon that is no range was ignored"),
    ],
)
def test_what_is_passed_over(query: str, warning: str) -> None:
    import re

    assert any(re.search(warning, text) for text in parse(query)[1])


_PIECES = (
    '( ) [ ] " : * AND OR NOT & | / #1 ~ [ti] [mh:noexp] [tiab:~3] [dp] [pmid] [filter] 2000 2000/13 '
    "asthma hip-pain é ß \x00 “ ’"
)
PIECES = st.sampled_from([*_PIECES.split(" "), " "])


@given(
    st.one_of(
        st.text(), st.lists(PIECES, max_size=30).map("".join), st.lists(PIECES, max_size=30).map(" ".join)
    )
)
def test_any_text_is_a_tree_or_an_error_with_a_place(query: str) -> None:
    error = None
    try:
        node, warnings = parse(query)
    except QueryRejected as rejected:
        error = rejected
    if error is not None:
        assert 0 <= error.position <= len(query)
        assert error.reason
        assert "\n" in error.caret()
    else:
        assert plain(node) is not None
        assert all(isinstance(text, str) for text in warnings)
