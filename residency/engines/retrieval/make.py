"""Makes an index, step by step; each step that is whole is kept for the next attempt.

documents → vectors → vector index, measured → word index → the queries' model → manifest. The
folder `outputs/.index.part` becomes `outputs/index` when the index has been opened anew and some
of its own documents have been found in it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency import __version__
from residency.engines.processors.notes import Notes
from residency.engines.retrieval.engine import INDEX, LOG, REPORT
from residency.engines.retrieval.paths import locate
from residency.engines.retrieval.vectors import VectorMaker
from residency.errors import StageFailed
from residency.files import read_json, write_json
from residency.processing import Report
from residency.retrieval import manifest, words
from residency.retrieval.documents import Documents
from residency.retrieval.documents import write as write_documents
from residency.retrieval.manifest import Manifest
from residency.retrieval.records import documents
from residency.retrieval.words import Words

PART = f".{INDEX}.part"
DONE = "documents.done.json"
EXAMPLES = 3


class Maker:
    """One stage."""

    less_memory = "lower encoder.batch_tokens, or choose an index.type that is smaller: sq8, ivf_pq"

    def __init__(self, stage: Mapping[str, Any], folder: Path) -> None:
        """Take the stage that `engine.prepare` wrote, and its folder."""
        self.stage = stage
        self.folder = folder
        self.part = folder / "outputs" / PART
        self.notes = Notes(folder)
        self.began = time.monotonic()
        self.warnings: list[str] = []

    def make(self) -> None:
        """Make the index.

        Raises:
            ResidencyError: what is missing or wrong, in a sentence.
        """
        target = self.folder / "outputs" / INDEX
        if (target / manifest.FILE).is_file():
            self.notes.say("the index is there already")
            return
        self.part.mkdir(parents=True, exist_ok=True)
        count, sha256, about = self.documents()
        report: dict[str, Any] = {"documents": count}
        encoder = vectors = None
        maker = None
        if self.stage.get("encoder"):
            maker = VectorMaker(self.stage, self.part, self.notes, count, sha256, self.folder / LOG)
            encoder, vectors = maker.make()
            report |= maker.figures
        found = self.words()
        if found is not None:
            report["words"] = found["words"]
        made = Manifest(
            count=count,
            documents_sha256=sha256,
            source=about,
            search=self.stage.get("search") or _search(bool(encoder), found is not None),
            encoder=encoder,
            vectors=vectors,
            words=Words(**found["settings"]) if found is not None else None,
            fusion_k=self.stage.get("fusion_k") or 60,
            made_with=_versions(),
        )
        manifest.write(self.part, made)
        report |= self.self_check(maker)
        report["warnings"] = self.warnings
        self.finish(target, report)
        if maker is not None:
            maker.forget()
        self.notes.say(f"done: {count:,} documents in {time.monotonic() - self.began:.0f} s")

    def documents(self) -> tuple[int, str, dict[str, Any]]:
        """The documents' file: (how many, its SHA-256, where they came from)."""
        done = read_json(self.part / DONE)
        if isinstance(done, dict) and len(Documents(self.part)) == done["count"]:
            self.notes.say(f"{done['count']:,} documents are there already")
            self.warnings += done["warnings"]
            return done["count"], done["sha256"], done["about"]
        paths, sources = locate(self.stage["corpus"], Path(self.stage["base"]), self.notes, "corpus")
        self.notes.progress("reading the corpus", force=True)
        report = Report()
        found = documents(
            paths,
            report,
            columns=self.stage.get("columns"),
            titles_alone=bool(self.stage.get("titles_alone")),
            limit=self.stage.get("limit"),
        )
        count, sha256 = write_documents(self.part, found)
        dropped = report.to_json()["dropped"]
        warnings = [
            f"{item['n']:,} rows were left out: {item['reason']} ({', '.join(item['examples'][:EXAMPLES])})"
            for item in dropped
            if item["reason"] in ("not JSON", "not an object")
        ]
        about = {"from": sources, "read": report.read, "left_out": {i["reason"]: i["n"] for i in dropped}}
        write_json(self.part / DONE, {"count": count, "sha256": sha256, "about": about, "warnings": warnings})
        self.warnings += warnings
        left = ", ".join(f"{item['n']:,} {item['reason']}" for item in dropped)
        self.notes.say(f"{count:,} documents" + (f"; left out: {left}" if left else ""))
        return count, sha256, about

    def words(self) -> dict[str, Any] | None:
        """The word index, where the recipe asks for one: its settings and how many words."""
        given = self.stage.get("bm25")
        if not given:
            if not self.stage.get("encoder"):
                raise StageFailed(
                    "the index would hold neither vectors nor words", "give `encoder` or `bm25`"
                )
            return None
        settings = Words(**given) if isinstance(given, Mapping) else Words()
        target = self.part / words.FOLDER
        done = target / "done.json"
        if done.is_file():
            return {"settings": settings.to_json(), **read_json(done)}
        self.notes.progress("indexing words", force=True)
        self.notes.say("indexing words")
        part = self.part / f".{words.FOLDER}.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        texts = (f"{d['title']}\n{d['text']}" for d in Documents(self.part))
        found = words.build(part, texts, settings)
        write_json(part / "done.json", found)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(part, target)
        return {"settings": settings.to_json(), **found}

    def self_check(self, maker: VectorMaker | None) -> dict[str, Any]:
        """Open the index as a server will, and find some of its own documents in it.

        Raises:
            StageFailed: hardly any is found: its parts do not belong together.
        """
        from residency.engines.retrieval.selfcheck import finds_itself, same_vectors

        self.notes.progress("looking for its own documents", force=True)
        figures: dict[str, Any] = {}
        if maker is not None:
            figures["vectors_agree"] = same_vectors(maker)
        found, warnings = finds_itself(self.part, self.stage["threads"])
        self.warnings += warnings
        return figures | found

    def finish(self, target: Path, report: dict[str, Any]) -> None:
        """Give the index its place."""
        for left in (self.part / DONE, self.part / words.FOLDER / "done.json"):
            left.unlink(missing_ok=True)
        for left in self.part.glob(".*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        files = {
            path.relative_to(self.part).as_posix(): path.stat().st_size
            for path in sorted(self.part.rglob("*"))
            if path.is_file()
        }
        report["seconds"] = round(time.monotonic() - self.began, 1)
        report["bytes"] = sum(files.values())
        write_json(self.part / REPORT, {**report, "files": files})
        os.replace(self.part, target)


def _search(vectors: bool, words_: bool) -> manifest.Search:
    return "hybrid" if vectors and words_ else "dense" if vectors else "bm25"


def _versions() -> dict[str, str]:
    import importlib.metadata

    made = {"residency": __version__}
    for name in ("faiss-cpu", "faiss-gpu", "bm25s", "PyStemmer", "torch", "transformers"):
        try:
            made[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return made
