"""When to ask a server again."""

from __future__ import annotations

import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.sources.patience import Patience, reason, retry_after


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), (" 0 ", 0.0), ("", None), (None, None), ("soon", None), ("-3", None), ("1.5", None)],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert retry_after(text) == seconds


def test_retry_after_as_a_date() -> None:
    found = retry_after(email.utils.formatdate(time.time() + 100, usegmt=True))
    assert found is not None
    assert 90 < found <= 100
    assert retry_after(email.utils.formatdate(time.time() - 100, usegmt=True)) == 0.0


@given(st.text())
def test_retry_after_of_anything(text: str) -> None:
    found = retry_after(text)
    assert found is None or found >= 0


def test_pauses_grow_up_to_a_bound_and_differ() -> None:
    patience = Patience(first_wait=1, longest_wait=5)
    for failures, most in ((1, 1), (2, 2), (3, 4), (4, 5), (40, 5)):
        found = [patience.pause(failures) for _ in range(50)]
        assert all(most / 2 <= pause <= most for pause in found)
        assert len(set(found)) > 1


def test_reasons_hold_no_addresses() -> None:
    class ReadTimeout(Exception):
        pass

    assert reason(ReadTimeout("http://user:secret@host")) == "the server fell silent"
    assert reason(ValueError("http://user:secret@host")) == "the network failed (ValueError)"
