"""Vector indexes by FAISS: which type fits, building one, searching one.

Scores are inner products throughout; of vectors of length 1 they are cosines.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.retrieval.shards import Shards

if TYPE_CHECKING:
    import numpy as np

FILE = "faiss.index"
TYPES = ("flat", "hnsw", "ivf_flat", "ivf_pq", "sq8")
EXACT = 100_000
"""Up to so many documents `auto` takes exact search: 700 queries/s of 384 dimensions on two cores."""
GRAPH = 20_000_000
"""Up to so many `auto` takes a graph, where it fits."""
SCANNED = 1_000_000
"""Up to so many `auto` takes sq8, which compares a query with every vector."""
HNSW_LINKS = 32
PQ_DIMENSIONS = 4
"""Dimensions to a byte of product codes: of MiniLM on 6,000 abstracts recall@10 is 0.88; with 8, 0.75."""
REFINED = 8
"""Times as many as are asked for that `refine` looks at again, at a byte a dimension."""
TRAINING = 256
"""Vectors a cell that k-means is trained on at most."""
SEARCHED = {"hnsw": "ef_search", "ivf_flat": "nprobe", "ivf_pq": "nprobe"}
"""The parameter that trades speed for recall, by type."""
FIRST = {"ef_search": 64, "nprobe": 16}
KEYS: Mapping[str, tuple[str, ...]] = {
    "auto": (),
    "flat": (),
    "hnsw": ("m", "ef_construction", "ef_search"),
    "ivf_flat": ("nlist", "nprobe"),
    "ivf_pq": ("nlist", "nprobe", "pq_m", "pq_bits", "refine"),
    "sq8": (),
}
"""The parameters of each type."""
Tell = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """What `auto` chose, and why."""

    type: str
    why: str


def choose(count: int, dimension: int, memory: int) -> Choice:
    """The type of index for so many vectors, in so many bytes of memory.

    Exact search up to `EXACT`; then the fastest that fits: a graph, cells, a byte a dimension, and
    product codes for what fits in no other way.
    """
    whole = count * dimension * 4
    shown = f"{count:,} vectors of {dimension} dimensions"
    if count <= EXACT and whole <= memory:
        return Choice("flat", f"{shown}: few enough for exact search")
    if count <= GRAPH and whole + count * (HNSW_LINKS * 2 * 4 + 16) <= memory:
        return Choice("hnsw", f"{shown}: too many for exact search, and a graph fits in memory")
    if whole + count * 8 <= memory:
        return Choice("ivf_flat", f"{shown}: they fit in memory, a graph over them does not")
    if count <= SCANNED and count * dimension <= memory:
        return Choice("sq8", f"{shown}: they fit in memory at a byte a dimension")
    return Choice("ivf_pq", f"{shown}: they fit in memory as product codes alone")


def settings(type_: str, count: int, dimension: int, given: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of an index: those given, and for the rest what fits its size.

    Raises:
        RecipeInvalid: `type_` is not known, or a parameter does not fit the vectors.
    """
    if type_ not in TYPES:
        raise RecipeInvalid(f"`{type_}` is no type of index", ", ".join(TYPES))
    made: dict[str, Any] = {}
    if type_ == "hnsw":
        made = {"m": HNSW_LINKS, "ef_construction": 200}
    elif type_.startswith("ivf"):
        made = {"nlist": max(1, min(int(4 * math.sqrt(count)), count // 39))}
        if type_ == "ivf_pq":
            made |= {"pq_m": _divisor(dimension, dimension // PQ_DIMENSIONS), "pq_bits": 8, "refine": False}
    made |= {key: value for key, value in given.items() if value is not None}
    if type_.startswith("ivf") and made["nlist"] > count:
        raise RecipeInvalid(
            f"index.nlist is {made['nlist']:,}, and there are {count:,} documents to put into cells",
            f"set index.nlist to {max(1, min(int(4 * math.sqrt(count)), count // 39)):,} or leave it out",
        )
    if "pq_m" in made and dimension % made["pq_m"]:
        raise RecipeInvalid(
            f"index.pq_m is {made['pq_m']}, which does not divide the {dimension} dimensions of a vector",
            f"set index.pq_m to {_divisor(dimension, made['pq_m'])}",
        )
    if "pq_bits" in made and count < 2 ** made["pq_bits"]:
        raise RecipeInvalid(
            f"ivf_pq needs {2 ** made['pq_bits']:,} documents or more to learn its codes from; "
            f"there are {count:,}",
            "set index.type: flat",
        )
    return made


def build(path: Path, type_: str, params: Mapping[str, Any], shards: Shards, tell: Tell, *, gpu: bool) -> Any:
    """Build an index of all shards and write it, whole or not at all; returns it.

    Args:
        path: The file.
        type_: One of TYPES.
        params: From `settings`.
        shards: The vectors.
        tell: Is told what is being done, and how many documents are in.
        gpu: Train on a GPU, where faiss-gpu is installed.
    """
    faiss = library()
    index = faiss.index_factory(shards.dimension, _factory(type_, params), faiss.METRIC_INNER_PRODUCT)
    if type_ == "hnsw":
        index.hnsw.efConstruction = params["ef_construction"]
    if not index.is_trained:
        tell("learning the cells" if "nlist" in params else "learning the range of each dimension", 0)
        sample = _sample(shards, TRAINING * params.get("nlist", 64))
        with _on_gpu(index, type_, gpu) as trained:
            trained.train(sample)
        del sample
    for span, vectors in shards.all():
        index.add(vectors)
        tell("indexing", span.stop)
    part = path.with_name(f".{path.name}.part")
    try:
        faiss.write_index(index, str(part))
        part.replace(path)
    except (RuntimeError, OSError) as error:
        part.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {error}") from error
    return index


def read(path: Path) -> Any:
    """An index from its file, mapped into memory where FAISS can.

    Raises:
        StageFailed: the file is missing or damaged.
    """
    faiss = library()
    if not path.is_file():
        raise StageFailed(f"{path} is missing", "make the index again")
    try:
        with contextlib.suppress(RuntimeError):
            return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC | faiss.IO_FLAG_READ_ONLY)
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise StageFailed(
            f"the vector index {path} cannot be read: {str(error).splitlines()[0][:200]}",
            "the file was changed or cut short: make the index again",
        ) from error


def tune(index: Any, params: Mapping[str, Any]) -> None:
    """Set the parameters of searching on an index that is open."""
    faiss = library()
    wanted = [("nprobe", params.get("nprobe")), ("efSearch", params.get("ef_search"))]
    wanted += [("k_factor_rf", REFINED if params.get("refine") else None)]
    for name, value in wanted:
        if value is not None:
            faiss.ParameterSpace().set_index_parameter(index, name, value)


def search(index: Any, vectors: np.ndarray, topk: int, threads: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The best positions and scores for each query vector, (n, topk) both; -1 where there are fewer."""
    faiss = library()
    if threads:
        faiss.omp_set_num_threads(threads)  # holds for the calling thread alone
    scores, positions = index.search(vectors, min(topk, index.ntotal))
    return positions, scores


def library() -> Any:
    """FAISS.

    Raises:
        Missing: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise Missing("the Python package faiss is not installed", "make install") from error
    return faiss


def gpus() -> int:
    """GPUs that the installed FAISS can use; 0 of faiss-cpu."""
    faiss = library()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def to_gpu(index: Any, type_: str, number: int = 0) -> Any:
    """The index on a GPU, where FAISS can search its type there; else as it is."""
    if type_ == "hnsw" or not gpus():
        return index
    faiss = library()
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), number, index)


@contextlib.contextmanager
def _on_gpu(index: Any, type_: str, wanted: bool) -> Any:
    """The index to train; k-means runs on a GPU where there is one, which is most of the time."""
    faiss = library()
    inner = faiss.try_extract_index_ivf(index) if type_.startswith("ivf") else None
    if wanted and gpus() and inner is not None:
        inner.clustering_index = faiss.index_cpu_to_all_gpus(faiss.IndexFlatIP(inner.d))
    yield index


def _factory(type_: str, params: Mapping[str, Any]) -> str:
    if type_ == "hnsw":
        return f"HNSW{params['m']},Flat"
    if type_ == "ivf_flat":
        return f"IVF{params['nlist']},Flat"
    if type_ == "ivf_pq":
        codes = f"IVF{params['nlist']},PQ{params['pq_m']}x{params['pq_bits']}np"
        return f"{codes},Refine(SQ8)" if params["refine"] else codes
    return {"flat": "Flat", "sq8": "SQ8"}[type_]


def _sample(shards: Shards, most: int) -> np.ndarray:
    """Vectors to train on, spread evenly over the corpus: float32, (n, dimension)."""
    import numpy as np

    n = min(shards.count, most)
    return shards.take(np.linspace(0, shards.count - 1, n).astype(np.int64))


def _divisor(dimension: int, wanted: int) -> int:
    """The divisor of `dimension` that is nearest to `wanted`."""
    return min((n for n in range(1, dimension + 1) if dimension % n == 0), key=lambda n: abs(n - wanted))
