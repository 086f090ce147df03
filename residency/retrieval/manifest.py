"""What an index is: its manifest, from which alone it is opened and queried.

The model that encodes queries, its pooling, prefixes and lengths are fixed here when the documents
are encoded, so that a query can never be encoded in another way than they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from residency.errors import Missing, StageFailed
from residency.files import read_json, write_json
from residency.retrieval.words import Words

FILE = "manifest.json"
FORMAT = "residency-index"
VERSION = 1
"""The form of an index's folder. One of another form is refused."""
Search = Literal["dense", "bm25", "hybrid"]


@dataclass(frozen=True, slots=True)
class Encoder:
    """How a text becomes a vector, for both sides."""

    model: str
    """What the recipe names: a folder, a hub name, a source."""
    model_sha256: str
    """Of the files of the model that encodes documents."""
    query_model: str | None = None
    """Another model for queries (MedCPT); None: the same."""
    query_sha256: str | None = None
    pooling: str = "mean"
    """`mean`, `cls`, `last`, or `model`: what a sentence-transformers model brings along."""
    passage_prefix: str = ""
    query_prefix: str = ""
    max_passage_length: int = 512
    """Tokens; a longer document loses its end."""
    max_query_length: int = 512
    normalize: bool = True
    """Vectors of length 1, so that the inner product is the cosine."""
    dtype: str = "auto"
    """What documents were encoded in: float32, bfloat16, float16. Queries too, where the machine
    that serves them is fast in it, else in float32."""
    pair: bool = False
    """Documents go in as the two segments (title, text), as MedCPT's were trained."""
    dimension: int = 0


@dataclass(frozen=True, slots=True)
class Vectors:
    """The vector index."""

    type: str
    """`flat`, `hnsw`, `ivf_flat`, `ivf_pq`, `sq8`."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """Of building and of searching: m, ef_construction, ef_search, nlist, nprobe, bits, …"""
    dtype: str = "float32"
    """Of the vectors that are kept in vectors/: float32 or float16."""
    recall_at_10: float | None = None
    """Of the index against exact search, on a sample."""
    recall_sample: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """An index."""

    count: int
    """Documents."""
    documents_sha256: str
    source: Mapping[str, Any]
    """Where the documents came from: `path` or `url`, and what was left out."""
    search: Search
    """How a search is made when nobody says otherwise."""
    encoder: Encoder | None = None
    vectors: Vectors | None = None
    words: Words | None = None
    fusion_k: int = 60
    """Of reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""
    made_with: Mapping[str, str] = field(default_factory=dict)
    """Versions of the libraries that made it."""
    format: str = FORMAT
    version: int = VERSION

    def to_json(self) -> dict[str, Any]:
        """As manifest.json has it."""
        return asdict(self)


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which is the last file of an index: without it there is none."""
    write_json(folder / FILE, manifest.to_json())


def read(folder: Path) -> Manifest:
    """The manifest of an index.

    Raises:
        Missing: the folder holds none.
        StageFailed: it is damaged, or of another format.
    """
    try:
        value = read_json(folder / FILE)
    except (OSError, ValueError) as error:
        raise StageFailed(f"{folder / FILE} cannot be read: {error}", "make the index again") from error
    if isinstance(value, dict) and value.get("kind") == "boolean":
        raise Missing(
            f"{folder} is an index for PubMed's language (`engine: boolean`), which takes no questions",
            "search it with `launch.py pubmed search`, or make one with an `encoder` or `bm25`",
        )
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        what = f"it has no {FILE} of one" if folder.is_dir() else "it is not there"
        raise Missing(
            f"{folder} is no index: {what}", "give the folder that an `index` stage left, its output `index`"
        )
    if value.get("version") != VERSION:
        raise StageFailed(
            f"the index {folder} is of version {value.get('version')}, and this Residency reads {VERSION}",
            "make the index again",
        )
    try:
        value = {name: value[name] for name in (f.name for f in fields(Manifest)) if name in value}
        for name, kind in (("encoder", Encoder), ("vectors", Vectors), ("words", Words)):
            if value.get(name) is not None:
                value[name] = kind(**value[name])
        return Manifest(**value)
    except TypeError as error:
        raise StageFailed(f"{folder / FILE} is not whole: {error}", "make the index again") from error
