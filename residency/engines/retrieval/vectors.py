"""The vector side of an index stage: encoding, the FAISS index, its recall.

Vectors are the costly part. They lie in the cache, under a name made of the documents, the model
and how it encodes, until the index is whole; another attempt, or another type of index after a
recall below the floor, finds them there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from residency.engines.processors.notes import Notes
from residency.engines.retrieval.model import Models, models_of
from residency.errors import StageFailed
from residency.files import read_json, sha256_value, write_json
from residency.paths import cache_dir
from residency.retrieval import faiss_index, models, recall
from residency.retrieval.dense import MODEL
from residency.retrieval.documents import Documents
from residency.retrieval.encode import encode, processes
from residency.retrieval.encoder import TextEncoder
from residency.retrieval.manifest import Encoder, Vectors
from residency.retrieval.shards import Shards

FLOOR = 0.95
CODES_FLOOR = 0.7
"""Of ivf_pq without `refine`: a byte to four dimensions cannot keep more of the order."""
SAMPLE = 300
DONE = ".vectors.done.json"
FOLDER = "vectors"
_QUERY = 200
"""Characters of a document without a title that stand for a query."""


class VectorMaker:
    """The vectors of one stage."""

    def __init__(
        self, stage: Mapping[str, Any], part: Path, notes: Notes, count: int, sha256: str, log: Path
    ) -> None:
        """Take the stage, the folder of the index, and its documents' number and hash."""
        self.stage, self.part, self.notes, self.log = stage, part, notes, log
        self.count, self.sha256 = count, sha256
        self.given: Mapping[str, Any] = stage["encoder"]
        self.wanted: Mapping[str, Any] = stage.get("index") or {}
        self.figures: dict[str, Any] = {}
        gpus = int(stage.get("gpus") or 0)
        self.devices = [f"cuda:{n}" for n in range(gpus)] or ["cpu"]
        self.threads = int(stage["threads"])
        self.models: Models
        self.spec: Encoder
        self.shards: Shards
        self.encoder: TextEncoder

    def make(self) -> tuple[Encoder, Vectors]:
        """Encode, index, measure; what the manifest says of it."""
        self.notes.progress("loading the model", force=True)
        self.models = models_of(self.given, Path(self.stage["base"]), self.notes.say)
        self.notes.say(f"loading the model {self.models.spec.model}")
        self.encoder = self._load(self.models.passages, self.models.spec)
        computes = str(self.encoder.dtype).removeprefix("torch.")
        self.spec = replace(self.models.spec, dimension=self.encoder.dimension, dtype=computes)
        type_, params = self._type()
        dtype = self.wanted.get("vectors_dtype") or "float32"
        of = {"documents": self.sha256, "encoder": _counts(self.spec)}
        self._folder = cache_dir() / FOLDER / sha256_value({**of, "dtype": dtype})[:32]
        self.shards = Shards(self._folder, self.count, self.spec.dimension, dtype)
        self._lock = _alone(self._folder.name, self.notes)
        self._encode(self.shards.begin(of))
        vectors = self._index(type_, params, dtype)
        self._copy_model()
        return self.spec, vectors

    def forget(self) -> None:
        """Remove the vectors, unless the recipe keeps them."""
        if not self.wanted.get("keep_vectors"):
            shutil.rmtree(self._folder, ignore_errors=True)
        self._lock.close()

    def _load(self, folder: Path, spec: Encoder) -> TextEncoder:
        return TextEncoder(
            folder,
            spec,
            device=self.devices[0],
            threads=self.threads,
            batch_tokens=self.given.get("batch_tokens"),
        )

    def _type(self) -> tuple[str, dict[str, Any]]:
        """The type of index and its parameters, known before hours are spent on encoding."""
        type_ = self.wanted.get("type") or "auto"
        given = {key: self.wanted.get(key) for key in faiss_index.KEYS.get(type_, ())}
        if type_ == "auto":
            memory = int(self.wanted["memory"] * 1e9) if self.wanted.get("memory") else _memory() // 2
            choice = faiss_index.choose(self.count, self.spec.dimension, memory)
            type_ = choice.type
            self.notes.say(f"index: {type_} ({choice.why})")
        return type_, faiss_index.settings(type_, self.count, self.spec.dimension, given)

    def _encode(self, missing: list[int]) -> None:
        left = sum(len(self.shards.span(number)) for number in missing)
        before = self.count - left
        if before:
            self.notes.say(f"{before:,} of {self.count:,} documents are encoded already")
        if not missing:
            return
        _room(self._folder, left * self.spec.dimension * (2 if self.shards.dtype == "float16" else 4))
        n = processes(
            self.threads, int(self.stage.get("gpus") or 0), len(missing), self.given.get("processes")
        )
        devices = [self.devices[at % len(self.devices)] for at in range(n)]
        spread = f" in {n} processes" if n > 1 else ""
        self.notes.say(
            f"encoding {left:,} documents on {devices[0].split(':')[0]}{spread}, {self.encoder.dtype}"
        )
        began, done, told = time.monotonic(), 0, 0

        def tell(count: int) -> None:
            nonlocal done, told
            done += count
            spent = time.monotonic() - began
            rate = done / spent if spent else 0.0
            self.notes.progress("encoding", before + done, self.count)
            if done - told >= self.shards.size or done == left:
                told = done
                row = {"step": before + done, "documents_per_second": round(rate, 2)}
                with self.log.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(row) + "\n")

        encode(
            self.encoder,
            self.models.passages,
            self.spec,
            self.part,
            self.shards,
            missing,
            tell,
            devices=devices,
            threads=self.threads,
            batch_tokens=self.given.get("batch_tokens"),
        )
        rate = left / (time.monotonic() - began)
        self.figures["documents_per_second"] = round(rate, 1)
        self.notes.say(f"encoded {left:,} documents, {rate:,.1f} a second")

    def _index(self, type_: str, params: dict[str, Any], dtype: str) -> Vectors:
        """Build the FAISS index and measure it against exact search."""
        path = self.part / faiss_index.FILE
        floor = self._floor(type_, params)
        done = read_json(self.part / DONE)
        if path.is_file() and isinstance(done, dict):
            index = faiss_index.read(path)
        else:
            self.notes.say(f"building the index: {type_} {_shown(params)}".rstrip())
            gpu = self.devices[0] != "cpu"

            def tell(what: str, at: int) -> None:
                self.notes.progress(what, at, self.count)

            faiss_index.library().omp_set_num_threads(self.threads)
            index = faiss_index.build(path, type_, params, self.shards, tell, gpu=gpu)
            write_json(self.part / DONE, {})
        self.notes.progress("measuring recall against exact search", force=True)
        queries = self._queries()
        found, params = recall.reach(index, type_, params, self.shards, queries, floor, self.threads)
        self.figures |= {"index_type": type_, "recall_at_10": round(found, 4), "recall_sample": len(queries)}
        self.notes.say(
            f"recall@10 against exact search: {found:.3f} on {len(queries):,} queries {_shown(params)}"
        )
        if index.ntotal != self.count:
            raise StageFailed(
                f"vectors and documents disagree: the index holds {index.ntotal:,} vectors, and there are "
                f"{self.count:,} documents",
                "run the same command with --fresh",
            )
        if found < floor:
            raise StageFailed(
                f"recall@10 of the {type_} index is {found:.3f} against exact search, and at least {floor} "
                "is asked for",
                f"{_remedy(type_)}, or lower index.min_recall; the vectors are kept, and not encoded again",
            )
        return Vectors(type_, params, dtype, round(found, 4), len(queries))

    def _floor(self, type_: str, params: Mapping[str, Any]) -> float:
        if self.wanted.get("min_recall") is not None:
            return float(self.wanted["min_recall"])
        return CODES_FLOOR if type_ == "ivf_pq" and not params.get("refine") else FLOOR

    def _queries(self) -> Any:
        """Vectors of queries: titles of documents spread over the corpus, or how their texts begin."""
        documents = Documents(self.part)
        n = min(self.count, self.wanted.get("recall_sample") or SAMPLE)
        at = [position * self.count // n for position in range(n)]
        texts = [
            document["title"] or document["text"][:_QUERY] for document in map(documents.__getitem__, at)
        ]
        encoder = self.encoder
        if self.models.queries != self.models.passages:
            spec = replace(self.spec, dimension=0)
            encoder = self._load(self.models.queries, spec)
            if encoder.dimension != self.spec.dimension:
                raise StageFailed(
                    f"the model for queries makes vectors of {encoder.dimension} dimensions, the one for "
                    f"documents of {self.spec.dimension}",
                    "encoder.model and encoder.query_model must have been trained together",
                )
        return encoder.queries(texts)

    def _copy_model(self) -> None:
        target, part = self.part / MODEL, self.part / f".{MODEL}.part"
        if not target.is_dir():
            models.copy(self.models.queries, part)
            os.replace(part, target)


def _alone(name: str, notes: Notes) -> IO[str]:
    """A lock held by one stage at a time; another that encodes the same documents waits here."""
    path = cache_dir() / "locks" / f"vectors-{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = path.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        notes.say("another stage is encoding the same documents: waiting for it")
        notes.progress("waiting for another stage that encodes the same documents", force=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def _counts(spec: Encoder) -> dict[str, Any]:
    """What the vectors of documents depend on."""
    return {
        "model": spec.model_sha256,
        "pooling": spec.pooling,
        "prefix": spec.passage_prefix,
        "length": spec.max_passage_length,
        "normalize": spec.normalize,
        "pair": spec.pair,
        "dtype": spec.dtype,
        "dimension": spec.dimension,
    }


def _memory() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _room(folder: Path, needed: int) -> None:
    """Raise StageFailed where the disk cannot hold what will be written."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StageFailed(
            f"the vectors need {needed / 1e9:.1f} GB, and the disk of {folder} has {free / 1e9:.1f} GB left",
            "make room, set index.vectors_dtype: float16, or choose another disk with RESIDENCY_CACHE",
        )


def _remedy(type_: str) -> str:
    key = faiss_index.SEARCHED.get(type_)
    if type_ == "ivf_pq":
        return "set index.refine: true, raise index.pq_m"
    return f"raise index.{key} or leave it out" if key else "set index.type: flat"


def _shown(params: Mapping[str, Any]) -> str:
    said = ", ".join(f"{key} {value}" for key, value in params.items())
    return f"({said})" if said else ""
