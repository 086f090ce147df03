"""Filters, repeated texts, draws."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.pubmed.select import Filters, chosen, drawn, text_key


def row(**values: Any) -> dict[str, Any]:
    plain = {"languages": ["eng"], "date": "2015-06", "publication_types": ["Journal Article", "Review"]}
    return {**plain, "title": "T", "abstract": "A", "mesh": [], **values}


@pytest.mark.parametrize(
    ("filters", "values", "reason"),
    [
        ({}, {}, None),
        ({"languages": "eng"}, {}, None),
        ({"languages": ["ger", "fre"]}, {}, "another language"),
        ({"languages": ["ger"]}, {"languages": ["eng", "ger"]}, None),
        ({"abstract": True}, {"abstract": ""}, "no abstract"),
        ({"mesh": True}, {}, "no MeSH headings"),
        ({"types": ["review"]}, {}, None),
        ({"types": ["Clinical Trial"]}, {}, "another publication type"),
        ({"without_types": ["Review"]}, {}, "an excluded publication type"),
        ({"dates": {"from": 2015, "to": 2015}}, {}, None),
        ({"dates": {"from": "2015-07"}}, {}, "another date"),
        ({"dates": {"from": "2015-06-20"}}, {}, None),  # the day is not given: it may be within
        ({"dates": {"to": "2015-05-31"}}, {}, "another date"),
        ({"dates": {"to": 2014}}, {"date": "2015"}, "another date"),
        ({"dates": {"to": 2014}}, {"date": ""}, "no date"),
    ],
)
def test_filters(filters: dict[str, Any], values: dict[str, Any], reason: str | None) -> None:
    assert Filters.of(filters).reason(row(**values)) == reason


def test_the_same_words_are_the_same_text() -> None:
    one = text_key(row(title="Asthma in Children.", abstract="We  studied…"))
    assert one == text_key(row(title="ASTHMA in children", abstract="we studied"))
    assert one != text_key(row(title="Asthma in children", abstract="we studied more"))
    assert text_key(row(title="", abstract=" .")) == 0


@given(
    keys=st.lists(st.integers(0, 5), max_size=40),
    size=st.none() | st.integers(1, 50),
    seed=st.integers(0, 3),
)
def test_what_stays(keys: list[int], size: int | None, seed: int) -> None:
    pmids = list(range(100, 100 + len(keys)))
    keep, repeated, undrawn = chosen(pmids, keys, None if size is None else (size, seed))
    first = [i for i, key in enumerate(keys) if not key or key not in keys[:i]]
    kept = [i for i, stays in enumerate(keep) if stays]
    assert repeated == len(keys) - len(first)
    assert set(kept) <= set(first)
    assert len(kept) == min(len(first), size if size is not None else len(first))
    assert len(kept) + repeated + undrawn == len(keys)
    if size is not None:
        assert [pmids[i] for i in kept] == drawn([pmids[i] for i in first], size, seed)


def test_a_draw_depends_on_the_seed_and_a_larger_one_holds_it() -> None:
    pmids = range(1, 1000)
    assert drawn(pmids, 50, 7) == drawn(reversed(pmids), 50, 7)
    assert set(drawn(pmids, 50, 7)) < set(drawn(pmids, 60, 7))
    assert drawn(pmids, 50, 7) != drawn(pmids, 50, 8)
