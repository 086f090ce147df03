"""Rows that LLaMA-Factory cut at `cutoff_len`: counted in its own cache of tokenised rows.

It cuts a row to `cutoff_len` tokens to the last one, so a row of that length was cut (or, one in
thousands, fits to the token). Only the lengths are read, from memory-mapped Arrow files: a
million rows take a fraction of a second. Packed rows, and rows of pre-training, are all of one
length and say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from residency.engines.base import Job
from residency.engines.llamafactory import datasets, places

DEFAULT = 2048
"""LLaMA-Factory's `cutoff_len`."""
COLUMNS = ("input_ids", "chosen_input_ids", "rejected_input_ids")
_SHARD = re.compile(r"_\d{5}_of_\d{5}$")


class Cut(NamedTuple):
    """How many rows were cut."""

    rows: int
    """Rows that were tokenised, for training and evaluation together."""
    cut: int


def of(job: Job) -> Cut | None:
    """The rows that were cut; None where nothing tells (packing, streaming, no cache)."""
    block = places.block(job.config)
    limit = block.get("cutoff_len", DEFAULT)
    packed = block.get("packing") or block.get("neat_packing") or block.get("stage") == "pt"
    if packed or isinstance(limit, bool) or not isinstance(limit, int):
        return None
    tables: dict[str, Cut] = {}
    for path in _files(job, block.get("tokenized_path")):
        part = _count(path, limit)
        if part is not None:
            # A table is in one file, or in one a process.
            name = str(path.with_name(_SHARD.sub("", path.stem)))
            before = tables.get(name, Cut(0, 0))
            tables[name] = Cut(before.rows + part.rows, before.cut + part.cut)
    found = list(tables.values())
    if len(found) > 1 + bool(block.get("val_size") or datasets.asked(job.config, "eval_dataset")):
        # An attempt that went on has tokenised the same rows once more.
        found = list(dict.fromkeys(found))
    rows = sum(table.rows for table in found)
    return Cut(rows, sum(table.cut for table in found)) if rows else None


def warning(found: Cut | None, job: Job) -> str | None:
    """What to say of it; None when no row was cut."""
    if found is None or not found.cut:
        return None
    limit = places.block(job.config).get("cutoff_len", DEFAULT)
    share = found.cut / found.rows
    return (
        f"{found.cut:,} of {found.rows:,} rows ({share:.0%})".replace("(0%)", "(under 1%)")
        + f" were cut at llamafactory.cutoff_len: {limit:,} tokens; what stood beyond is not learned from"
    )


def _files(job: Job, tokenized: object) -> Iterator[Path]:
    yield from sorted((job.folder / "cache").rglob("cache-*.arrow"))
    if isinstance(tokenized, str):
        start = places.roots(job.config, job.recipe_folder, job.project)[0]
        yield from sorted((start / Path(tokenized).expanduser()).rglob("data-*.arrow"))


def _count(path: Path, limit: int) -> Cut | None:
    """One Arrow file; None for one that holds no tokens, or cannot be read."""
    try:
        import pyarrow as arrow
        import pyarrow.compute as compute
    except ImportError:
        return None
    rows = cut = 0
    try:
        with arrow.memory_map(str(path)) as source:
            reader = arrow.ipc.open_stream(source)
            names = [name for name in COLUMNS if name in reader.schema.names]
            if not names:
                return None
            for batch in reader:
                full = None
                for name in names:
                    long = compute.greater_equal(compute.list_value_length(batch.column(name)), limit)
                    full = long if full is None else compute.or_(full, long)
                rows += batch.num_rows
                cut += compute.sum(full).as_py() or 0
    except (arrow.ArrowException, OSError):
        return None  # half-written by an attempt that was killed
    return Cut(rows, cut)
