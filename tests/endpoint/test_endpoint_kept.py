"""Answers outlive any kill; many are asked at once; the first failure for good ends all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.endpoint import kept, pool


def test_answers_are_there_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    one = kept.Kept(path, "a")
    one.add("k1", {"answer": "½"})
    one.add("k2", {"answer": "\ud800"})  # half of a character
    one.close()
    assert kept.count(path) == 2
    again = kept.Kept(path, "a")
    assert again.rows["k1"]["answer"] == "½"
    assert again.rows["k2"]["answer"] == "\ud800"
    again.close()
    assert kept.Kept(path, "b").rows == {}
    assert kept.count(path) == 0
    assert kept.count(tmp_path / "none") == 0


@given(st.integers(0, 400))
def test_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    path = tmp_path_factory.mktemp("kept") / "answers.jsonl"
    one = kept.Kept(path, "p")
    for i in range(5):
        one.add(f"k{i}", {"answer": "x" * i, "n": i})
    one.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:length])
    lines = whole[:length].count(b"\n")
    again = kept.Kept(path, "p")
    assert list(again.rows) == [f"k{i}" for i in range(max(0, lines - 1))]
    again.add("new", {"answer": ""})
    again.close()
    assert [json.loads(line) for line in path.read_bytes().splitlines()][-1] == {"key": "new", "answer": ""}


def test_many_at_once_and_never_more() -> None:
    now, most, lock = 0, 0, threading.Lock()

    def ask(item: int) -> int:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.005)
        with lock:
            now -= 1
        return item * item

    assert dict(pool.each(range(40), ask, concurrency=4)) == {i: i * i for i in range(40)}
    assert 2 <= most <= 4


def test_items_are_taken_as_there_is_room() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for i in range(1000):
            taken += 1
            yield i

    found = pool.each(items(), lambda i: i, concurrency=3)
    next(found)
    assert taken <= 4
    found.close()


def test_a_failure_ends_all_and_keeps_what_was_under_way() -> None:
    stopped, kept_answers, asked = [], [], []

    def ask(item: int) -> int:
        asked.append(item)
        if item == 3:
            raise ValueError("the third")
        time.sleep(0.05)
        kept_answers.append(item)
        return item

    with pytest.raises(ValueError, match="the third"):
        list(pool.each(range(100), ask, concurrency=4, stop=lambda: stopped.append(1)))
    assert stopped == [1]
    assert len(asked) < 10
    assert set(kept_answers) == set(asked) - {3}


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    def ask(item: int) -> int:
        if item:
            time.sleep(30)
        raise ValueError("the first")

    began = time.monotonic()
    with pytest.raises(ValueError, match="the first"):
        list(pool.each(range(2), ask, concurrency=2, linger=0.1))
    assert time.monotonic() - began < 5
