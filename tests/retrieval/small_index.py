"""A small index by words, made of given documents with the library itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.retrieval import documents, manifest, words


def make_index(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """An index of rows with `id`, `title` and `text`."""
    folder.mkdir(parents=True)
    count, digest = documents.write(folder, rows)
    settings = words.Words()
    words.build(folder / words.FOLDER, [f"{row['title']}\n{row['text']}" for row in rows], settings)
    manifest.write(folder, manifest.Manifest(count, digest, {"path": "test"}, "bm25", words=settings))
    return folder


ROWS = [
    {"id": "11", "pmid": "11", "title": "Aspirin and the colon", "text": "Aspirin prevented adenomas. " * 40},
    {"id": "12", "pmid": "12", "title": "Iron in pregnancy", "text": "Iron raised haemoglobin."},
    {"id": "x-1", "title": "A note without a PMID", "text": "Zinc and \x1b[31mcolour\x1b[0m of rats."},
]
