"""What the engine finds is what a plain look at every record finds, on all nine reviews."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from boolean_naive import TOPICS, Clause, Row, heading_clause, other_clause, queries, text_clause
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.retrieval.boolean.local import LocalSearch

Topic = Callable[[str], tuple[list[Row], LocalSearch]]
EXAMPLES = 25
LARGE = ("ACEInhibitors", "AtypicalAntipsychotics", "CalciumChannelBlockers", "ProtonPumpInhibitors")
SIZED = [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in TOPICS]
"""The reviews; a look at each record of more than a thousand takes some seconds."""


def agree(clause: Clause, rows: list[Row], search: LocalSearch) -> None:
    expected = {str(row["pmid"]) for row in rows if clause.holds(row)}
    found = search.search(clause.text, retmax=len(rows))
    assert set(found.pmids) == expected, clause.text
    assert found.count == len(expected) == len(found.pmids)
    # The translation is a query that says the same.
    again = search.search(found.translation, retmax=len(rows))
    assert again.pmids == found.pmids, (clause.text, found.translation)
    assert again.translation == found.translation


@pytest.mark.parametrize("name", SIZED)
def test_queries(name: str, topic: Topic, mesh_file: Path) -> None:
    rows, search = topic(name)

    @settings(max_examples=EXAMPLES)
    @given(clause=queries(rows, mesh_file))
    def check(clause: Clause) -> None:
        agree(clause, rows, search)

    check()


@pytest.mark.parametrize("kind", ["text", "heading", "other"])
@pytest.mark.parametrize("name", SIZED)
def test_fields(name: str, kind: str, topic: Topic, mesh_file: Path) -> None:
    rows, search = topic(name)

    @settings(max_examples=EXAMPLES)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        draw = data.draw
        if kind == "text":
            clause = text_clause(draw, rows)  # type: ignore[arg-type]
        elif kind == "heading":
            clause = heading_clause(draw, mesh_file)  # type: ignore[arg-type]
        else:
            clause = other_clause(draw, rows, mesh_file)  # type: ignore[arg-type]
        agree(clause, rows, search)

    check()
