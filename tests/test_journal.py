"""Files that only grow: nothing whole is lost, nothing half is read, another purpose begins anew."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency import journal
from residency.journal import Journal


def test_rows_are_there_again_for_the_same_purpose_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    one = Journal(path, "a")
    assert one.found == []
    one.append({"n": 1, "text": "½ \ud800"})
    one.close()
    assert Journal(path, "a").found == journal.rows(path) == [{"n": 1, "text": "½ \ud800"}]
    assert Journal(path, "b").found == journal.rows(path) == []
    assert journal.rows(tmp_path / "none") == []


@given(st.integers(0, 300), st.binary(max_size=20))
def test_what_is_cut_or_followed_by_rubbish(
    tmp_path_factory: pytest.TempPathFactory, length: int, rubbish: bytes
) -> None:
    path = tmp_path_factory.mktemp("journal") / "rows.jsonl"
    one = Journal(path, "p")
    for n in range(6):
        one.append({"n": n, "text": "x" * n})
    one.close()
    whole = path.read_bytes()[:length]
    path.write_bytes(whole + b"\x00" + rubbish)  # no row begins so
    again = Journal(path, "p")
    expected = [{"n": n, "text": "x" * n} for n in range(max(0, whole.count(b"\n") - 1))]
    assert again.found == expected
    again.append({"n": "new"})
    again.close()
    assert [json.loads(line) for line in path.read_bytes().splitlines()][1:] == [*expected, {"n": "new"}]


def test_many_threads_write_whole_rows(tmp_path: Path) -> None:
    one = Journal(tmp_path / "rows.jsonl", "p", sync_seconds=60)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: one.append({"n": n, "text": "y" * 5000}), range(200)))
    one.close()
    assert sorted(row["n"] for row in journal.rows(one.path)) == list(range(200))
