"""Encodes the documents of an index, shard by shard, in one process or several.

Each process loads the model once: one a GPU, or some to a CPU with many cores, where a model
alone does not use them all.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from residency.errors import ResidencyError, StageFailed
from residency.retrieval.documents import Documents
from residency.retrieval.encoder import TextEncoder
from residency.retrieval.manifest import Encoder
from residency.retrieval.shards import Shards

CORES = 8
"""CPU threads to a process; more than that a small encoder cannot use."""
Tell = Callable[[int], None]


def processes(threads: int, gpus: int, shards: int, wanted: int | None = None) -> int:
    """How many processes encode: one a GPU, or one to `CORES` threads; no more than shards."""
    return max(1, min(wanted or gpus or threads // CORES, max(1, shards)))


def encode(
    encoder: TextEncoder | None,
    model: Path,
    spec: Encoder,
    folder: Path,
    shards: Shards,
    missing: Sequence[int],
    tell: Tell,
    *,
    devices: Sequence[str],
    threads: int,
    batch_tokens: int | None = None,
) -> None:
    """Write the shards that are missing.

    Args:
        encoder: The model, loaded; used when there is one process.
        model: Its folder.
        spec: How texts become vectors.
        folder: Where the documents are.
        shards: Where the vectors go.
        missing: Numbers of shards.
        tell: Is given the number of documents done since it was last called.
        devices: One a process: `cpu`, `cuda:0`, …
        threads: CPU threads in all.
        batch_tokens: Tokens of a batch.

    Raises:
        StageFailed: a vector is no number, or a process died.
    """
    if len(devices) == 1 and encoder is not None:
        documents = Documents(folder)
        for number in missing:
            _shard(encoder, documents, shards, number, tell)
        return
    context = multiprocessing.get_context("spawn")
    places, done = context.Queue(), context.Value("q", 0)
    for device in devices:
        places.put(device)
    share = max(1, threads // len(devices))
    os.environ["OMP_NUM_THREADS"] = str(share)  # read by the children before they have libraries
    given = (places, done, model, spec, folder, shards, share, batch_tokens)
    told = 0
    with ProcessPoolExecutor(len(devices), mp_context=context, initializer=_begin, initargs=given) as pool:
        waiting = {pool.submit(_work, number) for number in missing}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                now = done.value
                tell(now - told)
                told = now
                for task in finished:
                    task.result()
        except BrokenProcessPool as error:
            raise StageFailed(
                "a process that was encoding died, most likely for want of memory",
                "lower encoder.batch_tokens or encoder.processes",
            ) from error
        finally:
            for task in waiting:
                task.cancel()


def _shard(encoder: TextEncoder, documents: Documents, shards: Shards, number: int, tell: Tell) -> None:
    texts = []
    for position in shards.span(number):
        document = documents[position]
        texts.append((document["title"], document["text"]))
    shards.write(number, encoder.passages(texts, tell))


_state: dict[str, Any] = {}


def _begin(places: Any, done: Any, model: Path, spec: Encoder, folder: Path, *rest: Any) -> None:
    """Load the model in a new process, on the next device."""
    shards, threads, batch_tokens = rest
    try:
        encoder = TextEncoder(
            model, spec, device=places.get(timeout=60), threads=threads, batch_tokens=batch_tokens
        )
        _state.update(encoder=encoder, documents=Documents(folder), shards=shards, done=done)
    except ResidencyError as error:
        _state["error"] = error


def _work(number: int) -> None:
    if "error" in _state:
        raise _state["error"]

    def tell(count: int) -> None:
        with _state["done"].get_lock():
            _state["done"].value += count

    _shard(_state["encoder"], _state["documents"], _state["shards"], number, tell)
