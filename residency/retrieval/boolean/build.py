"""Makes the index of a corpus: a folder of arrays that are mapped into memory to be searched.

Records are numbered in the order of their PMIDs, words in the order of their letters. So the records of a
range of PMIDs, and the postings of all words that begin alike, lie side by side.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from residency.errors import RecipeInvalid, StageFailed
from residency.files import read_json, sha256_file, write_json
from residency.retrieval.boolean.collect import LONGEST_NAME, PART, ZONE_BITS, Collector
from residency.retrieval.boolean.documents import documents
from residency.retrieval.boolean.mesh import Vocabulary, read

FORMAT = 1
KIND = "boolean"
MANIFEST = "manifest.json"
K1, B = 1.2, 0.75
"""Of BM25 (Robertson and Zaragoza, 2009): how soon a repeated word stops counting; how much length counts."""
EVERY = 1000


def build(
    rows: Iterable[Mapping[str, Any]],
    folder: Path,
    mesh: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Make the index of a corpus's rows; it takes its place when it is whole. Returns its manifest.

    Needs up to 9 KB of memory a record (with abstracts), so a million records need up to 9 GB.

    Args:
        rows: Rows of a corpus, or records of `residency.pubmed.reader`. Of a PMID that comes twice the
            last row counts.
        folder: Where it goes. An index that is there already is replaced.
        mesh: A file of MeSH (`residency.retrieval.boolean.mesh`); without one a heading does not include
            those beneath it.
        progress: Is told every 1,000 rows how many were read.

    Raises:
        Missing: There is no such MeSH file.
        RecipeInvalid: It is none, or a row has no PMID, or the folder holds something else.
        StageFailed: There are no rows.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _is_index(folder))):
        raise RecipeInvalid(f"{folder} is there and is no index of this kind", "give another folder")
    vocabulary = read(mesh) if mesh is not None else Vocabulary()
    collector = Collector(vocabulary)
    known = len(vocabulary.headings)
    for count, document in enumerate(documents(rows), 1):
        collector.add(document)
        if progress is not None and count % EVERY == 0:
            progress(count)
    if not collector.pmids:
        raise StageFailed("there are no records to index", "is the corpus empty, or filtered to nothing?")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".part"))
    try:
        manifest = _write(collector, made)
        manifest["mesh"] = (
            {"file": mesh.name, "sha256": sha256_file(mesh), "headings": known} if mesh is not None else None
        )
        manifest["files"] = {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in sorted(made.iterdir())
        }
        write_json(made / MANIFEST, manifest)
        made.chmod(0o755)
        _replace(made, folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    if progress is not None:
        progress(len(collector.pmids))
    return manifest


def _is_index(folder: Path) -> bool:
    try:
        manifest = read_json(folder / MANIFEST)
    except ValueError:
        return False
    return isinstance(manifest, dict) and manifest.get("kind") == KIND


def _replace(made: Path, folder: Path) -> None:
    """Put the new folder in the place of an old one; who has the old one open goes on reading it."""
    if not folder.exists():
        os.rename(made, folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
    os.rename(folder, old / "index")
    try:
        os.rename(made, folder)
    except OSError:
        os.rename(old / "index", folder)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _write(collector: Collector, folder: Path) -> dict[str, Any]:
    """All arrays of the index; returns what the manifest says of them."""
    import numpy as np

    from residency.retrieval.boolean import postings
    from residency.retrieval.boolean.table import pack

    def save(name: str, values: Any) -> None:
        np.save(folder / f"{name}.npy", values, allow_pickle=False)

    def save_table(name: str, strings: list[str]) -> None:
        blob, offsets = pack(strings)
        save(f"{name}.blob", blob)
        save(f"{name}.at", offsets)

    pmids = np.frombuffer(collector.pmids, dtype=np.int64)
    number = postings.numbering(pmids)
    count = int(number.max()) + 1
    kept = number >= 0

    def per_record(values: Any, dtype: Any) -> Any:
        out = np.zeros(count, dtype=dtype)
        out[number[kept]] = np.array(values)[kept]
        return out

    lengths = per_record(collector.lengths, np.uint32)
    save("pmids", per_record(pmids, np.int64))
    save("dates", per_record(collector.dates, np.int32))

    vocabulary = sorted(collector.words, key=lambda word: word.encode("utf-8", "surrogatepass"))
    save_table("words", vocabulary)
    arrays = postings.words(collector, number, vocabulary, lengths, folder, k1=K1, b=B)
    for name, values in arrays.items():
        save(name, values)
    names = postings.names(collector, number)
    postings.explode(names, collector.vocabulary)
    keys = sorted(names, key=lambda name: name.encode("utf-8", "surrogatepass"))
    save_table("names", keys)
    save("names.starts", np.cumsum([0, *(len(names[name]) for name in keys)], dtype=np.int64))
    save("names.docs", np.concatenate([names[name] for name in keys] or [np.zeros(0, np.uint32)]))
    save_table("subjects", _subjects(collector))
    return {
        "kind": KIND,
        "format": FORMAT,
        "count": count,
        "rows": len(pmids),
        "repeated_pmids": len(pmids) - count,
        "corpus_sha256": collector.digest.hexdigest(),
        "words": len(vocabulary),
        "places": int(arrays["words.places.starts"][-1]),
        "mean_length": float(lengths.mean()),
        "bm25": {"k1": K1, "b": B},
        "zone_bits": ZONE_BITS,
    }


def _subjects(collector: Collector) -> list[str]:
    """The names that untagged words are mapped to: `kind, key, name`, of headings, types and journals."""
    found = set(collector.subjects)
    headings = collector.vocabulary.headings
    for alias, at in collector.vocabulary.names().items():
        if alias.count(" ") < LONGEST_NAME:
            found.add(f"m{PART}{alias}{PART}{headings[at].name}")
    for at, heading in headings.items():
        if any(tree.startswith("V") for tree in heading.trees):
            found.add(f"p{PART}{at}{PART}{heading.name}")
    return sorted(found, key=lambda name: name.encode("utf-8", "surrogatepass"))
