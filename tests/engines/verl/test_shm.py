from __future__ import annotations

import os
import uuid
from multiprocessing import shared_memory

import pytest

from residency.engines.verl import shm

pytestmark = pytest.mark.skipif(not shm.FOLDER.is_dir(), reason="no /dev/shm on this system")


def test_only_what_is_new_and_unused_goes() -> None:
    mine = uuid.uuid4().hex[:8]
    older, left, used = (shm.FOLDER / f"rsy-{mine}-{name}" for name in ("older", "left", "used"))
    try:
        older.write_bytes(b"x")
        before = shm.segments()
        left.write_bytes(b"x")
        with used.open("wb") as stream:
            stream.write(b"x")
            gone = shm.remove_since(before)
            assert left.name in gone
            assert used.exists(), "a file that is open is another program's"
        assert older.exists(), "it was there before"
        assert not left.exists()
    finally:
        for path in (older, left, used):
            path.unlink(missing_ok=True)


def test_a_mapped_segment_stays() -> None:
    before = shm.segments()
    segment = shared_memory.SharedMemory(create=True, size=4096)
    try:
        os.close(segment._fd)  # mapped, no longer open
        segment._fd = -1
        assert segment.name.lstrip("/") not in shm.remove_since(before)
    finally:
        segment.close()
        segment.unlink()
