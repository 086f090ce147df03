"""Files in PMID order, the last version of each record, deletions, in bounded memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.processing import Report
from residency.pubmed import merge
from residency.pubmed.merge import Spool, merged

Entry = tuple[int, int, str]
"""(PMID, version, what: a text, `deleted`, or `dropped`)."""


def value(what: str, pmid: int) -> dict[str, Any]:
    if what == "deleted":
        return {"deleted": True}
    return {"dropped": "no abstract"} if what == "dropped" else {"pmid": pmid, "text": what}


def together(folder: Path, files: list[list[Entry]], run_bytes: int = 10**6) -> tuple[list[Any], Report]:
    runs = []
    for number, entries in enumerate(files):
        spool = Spool(folder / str(number), run_bytes)
        for place, (pmid, version, what) in enumerate(entries):
            spool.add(pmid, version, number, place, value(what, pmid))
        runs += spool.close()
    report = Report()
    return [(row["pmid"], row["text"]) for row in merged(runs, folder, report)], report


def test_later_files_replace_and_delete(tmp_path: Path) -> None:
    rows, report = together(
        tmp_path,
        [
            [(1, 1, "one"), (5, 1, "five"), (3, 1, "three"), (9, 1, "nine")],
            [(3, 1, "three, revised"), (5, 1, "deleted"), (7, 1, "seven"), (9, 1, "dropped")],
            [(77, 1, "deleted"), (7, 1, "seven, revised")],
        ],
    )
    assert rows == [(1, "one"), (3, "three, revised"), (7, "seven, revised")]
    assert report.kept == 3
    assert report.dropped == {"an older version": 3, "deleted by NLM": 1, "no abstract": 1}


def test_versions_are_records_of_their_own(tmp_path: Path) -> None:
    rows, _ = together(tmp_path, [[(1, 1, "a"), (1, 2, "b")], [(1, 1, "a, revised")]])
    assert rows == [(1, "b")]
    rows, _ = together(tmp_path / "x", [[(1, 1, "a"), (1, 2, "b")], [(1, 2, "deleted")]])
    assert rows == [(1, "a")]
    rows, _ = together(tmp_path / "y", [[(1, 1, "deleted")], [(1, 1, "back")]])
    assert rows == [(1, "back")]


entries = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 2), st.sampled_from(["a", "b", "deleted", "dropped"])),
    max_size=9,
)


@given(st.lists(entries, max_size=6), st.sampled_from([1, 300, 10**6]), st.sampled_from([2, 128]))
def test_as_a_dictionary_would(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[Entry]], run_bytes: int, most: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "MOST_RUNS", most)
        rows, report = together(tmp_path_factory.mktemp("m"), files, run_bytes)
    last: dict[tuple[int, int], str] = {}
    for file in files:
        for pmid, version, what in file:
            last[pmid, version] = what
    expected = []
    for pmid in sorted({pmid for pmid, _ in last}):
        there = [(v, what) for (p, v), what in last.items() if p == pmid and what != "deleted"]
        if there and max(there)[1] != "dropped":
            expected.append((pmid, max(there)[1]))
    assert rows == expected
    read = sum(what != "deleted" for file in files for _, _, what in file)
    assert read == report.kept + sum(report.dropped.values())
