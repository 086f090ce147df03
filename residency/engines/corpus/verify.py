"""What a corpus stage left, looked at with fresh eyes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.base import Verified
from residency.errors import StageFailed
from residency.files import read_json, sha256_file
from residency.pubmed.corpus import open_corpus


def verify(outputs: Path, config: Mapping[str, Any]) -> Verified:
    """Check the corpus against its manifest, and the passages against the corpus.

    Raises:
        StageFailed: Something is missing, changed since it was written, or out of order.
    """
    report = read_json(outputs / "report.json")
    if not isinstance(report, dict):
        raise StageFailed("the stage left no report.json: it did not come to its end")
    corpus = open_corpus(outputs / "corpus")
    for said in corpus.manifest["parts"]:
        if sha256_file(corpus.folder / said["file"]) != said["sha256"]:
            raise StageFailed(f"{said['file']} is not the file that was written")
    before, n = -1, 0
    for pmid in corpus.pmids():
        if pmid <= before:
            raise StageFailed(f"PMID {pmid} stands behind {before}")
        before, n = pmid, n + 1
    if not n == corpus.count == report["records"]:
        raise StageFailed(f"the corpus has {n} records where {corpus.count} were written")
    files = {"corpus": corpus.folder, "report": outputs / "report.json"}
    figures = corpus.manifest.get("figures") or {}
    metrics: dict[str, Any] = {"records": n, "with_abstract": figures.get("with_abstract")}
    metrics["dropped"] = sum(drop["n"] for drop in report["dropped"])
    if config.get("jsonl"):
        files["jsonl"] = outputs / "corpus.jsonl"
        metrics["passages"] = _passages(files["jsonl"], report.get("passages"))
    return Verified(files, metrics, tuple(report.get("warnings") or ()))


def _passages(path: Path, said: int | None) -> int:
    n = 0
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    row = json.loads(line)
                except ValueError:
                    raise StageFailed(f"{path.name}: line {n + 1} is broken") from None
                if set(row) != {"id", "contents"}:
                    raise StageFailed(f"{path.name}: line {n + 1} has not id and contents")
                n += 1
    if not n or n != said:
        raise StageFailed(f"{path.name} has {n} passages where {said} were written")
    return n
