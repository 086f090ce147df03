"""The machine's memory."""

from __future__ import annotations

import os

from residency.machine import memory


def test_what_the_system_says() -> None:
    found = memory()
    if found is None:  # no Linux
        return
    assert 0 < found.free <= found.total
    assert found.total <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 1.01
