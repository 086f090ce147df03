"""Rows cut at `cutoff_len`, counted in LLaMA-Factory's cache of tokenised rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training_case import tiny_block

from residency.engines.base import Job
from residency.engines.llamafactory import cut
from residency.engines.llamafactory.engine import ENGINE

arrow = pytest.importorskip("pyarrow")
MODEL = Path("/models/some")


def write(
    folder: Path, name: str, column: str = "input_ids", lengths: tuple[int, ...] = (), **more: Any
) -> None:
    """A file as `datasets` caches a table."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = {column: lengths, **more}
    table = arrow.table(
        {
            key: arrow.array([[1] * n for n in value], arrow.list_(arrow.int32()))
            for key, value in columns.items()
        }
    )
    with arrow.OSFile(str(folder / name), "wb") as sink, arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)


def cache(job: Job) -> Path:
    return job.folder / "cache" / "json" / "default-1" / "0.0.0"


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job(tiny_block(MODEL))


def test_rows_as_long_as_the_limit_were_cut(job: Job) -> None:
    assert cut.of(job) is None, "nothing tells"
    write(cache(job), "cache-1.arrow", lengths=(64, 63, 64, 5, 1))
    write(cache(job), "cache-2.arrow", column="_prompt", lengths=(64, 64))
    write(cache(job), "json-train.arrow", lengths=(64,))
    assert cut.of(job) == (5, 2)
    said = "2 of 5 rows (40%) were cut at llamafactory.cutoff_len: 64 tokens"
    assert ENGINE.notices(job)[0].startswith(said)


def test_a_table_of_several_processes_is_one(job: Job) -> None:
    for number in range(2):
        write(cache(job), f"cache-1_0000{number}_of_00002.arrow", lengths=(64, 3))
    assert cut.of(job) == (4, 2)


def test_what_a_resumed_attempt_tokenised_again_counts_once(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL))
    for name in ("cache-1.arrow", "cache-2.arrow"):
        write(cache(job), name, lengths=(64, 3))
    assert cut.of(job) == (2, 1)
    held_out = make_job(tiny_block(MODEL, val_size=0.5), key="sft-other")
    for name in ("cache-1.arrow", "cache-2.arrow"):
        write(cache(held_out), name, lengths=(64, 3))
    assert cut.of(held_out) == (4, 2), "one table to train on, one to evaluate on"


def test_pairs(make_job: Callable[..., Job]) -> None:
    job = make_job(tiny_block(MODEL, stage="dpo"), dataset="toy_pairs")
    write(cache(job), "cache-1.arrow", "chosen_input_ids", (64, 3, 64), rejected_input_ids=(64, 64, 2))
    assert cut.of(job) == (3, 3)


@pytest.mark.parametrize("more", [{"packing": True}, {"neat_packing": True}, {"stage": "pt"}])
def test_rows_of_one_length_say_nothing(make_job: Callable[..., Job], more: dict[str, Any]) -> None:
    job = make_job(tiny_block(MODEL, **more))
    write(cache(job), "cache-1.arrow", lengths=(64, 64))
    assert cut.of(job) is None
    assert ENGINE.notices(job) == ()


def test_files_that_cannot_be_read_are_passed_over(job: Job) -> None:
    write(cache(job), "cache-1.arrow", lengths=(64, 3))
    (cache(job) / "cache-2.arrow").write_bytes((cache(job) / "cache-1.arrow").read_bytes()[:50])
    (cache(job) / "cache-3.arrow").write_bytes(b"")
    assert cut.of(job) == (2, 1)


def test_nothing_is_said_when_none_was_cut(job: Job) -> None:
    write(cache(job), "cache-1.arrow", lengths=(63, 3))
    assert cut.of(job) == (2, 0)
    assert ENGINE.notices(job) == ()


def test_a_small_share_is_not_none(make_job: Callable[..., Job]) -> None:
    job = make_job({key: value for key, value in tiny_block(MODEL).items() if key != "cutoff_len"})
    said = cut.warning(cut.Cut(10_000, 3), job)
    assert said is not None
    assert said.startswith("3 of 10,000 rows (under 1%) were cut at llamafactory.cutoff_len: 2,048 tokens")
