"""The stand-in's reading of queries: left to right, brackets, and thousands of terms."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.pubmed.eutils.standin_query import Entry, matches

DAY = datetime.date(2001, 2, 3)


def entry(pmid: int = 7, title: str = "Asthma in children") -> Entry:
    return Entry(pmid, DAY, DAY, title, "", (), (), ())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("7[uid]", True),
        ("8[uid] OR 7[uid] AND 9[uid]", False),
        ("8[uid] OR (7[uid] AND 9[uid])", False),
        ("7[uid] OR (8[uid] AND 9[uid])", True),
        ("7[uid] NOT (8[uid] OR 9[uid])", True),
        ("7[uid] NOT (8[uid] OR 7[uid])", False),
        ("asthma[ti] children[ti]", True),
        ("asthma[ti] adults[ti]", False),
        ("8[uid] AND (7[uid]) OR 7[uid]", True),
        ("7[uid] OR (8[uid]) NOT 7[uid]", False),
        ("((7[uid]))", True),
        ("(7[uid]", True),
        ("7[uid]) AND 8[uid]", True),
        ("() OR 7[uid]", True),
        ("()", False),
        ("", False),
        ("1:9[uid]", True),
        ("2001/02/03:2001[dp]", True),
    ],
)
def test_queries(query: str, found: bool) -> None:
    assert matches(query, entry()) is found


TERMS = st.sampled_from(["7[uid]", "8[uid]"])
QUERIES = st.recursive(
    TERMS,
    lambda inner: st.lists(
        st.tuples(st.sampled_from(["AND", "OR", "NOT"]), inner), min_size=1, max_size=4
    ).map(lambda parts: "(" + " ".join(f"{op} {part}" for op, part in parts).partition(" ")[2] + ")"),
    max_leaves=30,
)


@settings(max_examples=50, deadline=None)
@given(QUERIES)
def test_as_python_reads_it_from_the_left(query: str) -> None:
    """Against the same query as nested Python: each operator takes all that stands on its left."""

    def value(text: str) -> bool:
        left: bool | None = None
        operator, depth, start = "AND", 0, 0
        words = text.replace("(", "( ").replace(")", " )").split()
        at = 0
        while at < len(words):
            word = words[at]
            if word in ("AND", "OR", "NOT"):
                operator = word
                at += 1
                continue
            if word == "(":
                depth, start = 1, at + 1
                while depth:
                    at += 1
                    depth += (words[at] == "(") - (words[at] == ")")
                right = value(" ".join(words[start:at]))
            else:
                right = word == "7[uid]"
            at += 1
            if left is None:
                left = right
            elif operator == "OR":
                left = left or right
            elif operator == "AND":
                left = left and right
            else:
                left = left and not right
        return bool(left)

    assert matches(query, entry()) is value(query)


def test_twenty_thousand_terms() -> None:
    many = " OR ".join(f"{number}[uid]" for number in range(100, 20_100))
    assert matches(many, entry(20_099))
    assert not matches(many, entry(20_100))


def test_five_thousand_brackets() -> None:
    deep = "(" * 5_000 + "7[uid]" + " OR 8[uid])" * 5_000
    assert matches(deep, entry())
    assert not matches(deep, entry(9))
    assert matches("8[uid] AND " + deep + " OR 7[uid]", entry())
