"""The engine of `kind: index` with `engine: boolean`: PubMed's Boolean search over a corpus.

A stage's folder holds `stage.yaml`, which the command reads, `log.jsonl` with how fast records were
read, `report.json`, and `outputs/index` once it is whole (`residency.retrieval.boolean.build`). It is made
in memory in one go: an attempt that was interrupted starts anew, with what it fetched.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import Job, Launch, Verified
from residency.engines.own import PROGRESS, OwnCommand, compute_env
from residency.engines.retrieval.engine import INDEX, LOG, REPORT
from residency.engines.retrieval.spec import corpora
from residency.engines.transformers.engine import resolve
from residency.errors import Missing, StageFailed
from residency.files import jsonl_rows, read_object

NAME = "boolean"


class BooleanIndex(OwnCommand):
    """Runs `residency.engines.retrieval.main` in the stage's folder."""

    name: ClassVar[str] = NAME
    main: ClassVar[str] = "residency.engines.retrieval.main"
    unit: ClassVar[str] = "record"
    less_memory: ClassVar[str | None] = "index fewer records (`limit`), or use a machine with more memory"

    def gpus(self, config: Mapping[str, Any], there: int) -> int | None:
        """None is of use."""
        return 0

    def prepare(self, job: Job) -> Launch:
        """stage.yaml, and the command that reads it."""
        config = job.config
        stage: dict[str, Any] = {
            "engine": NAME,
            "name": config.get("name") or job.name,
            "base": str(job.recipe_folder),
            "corpus": corpora(config, job.recipe_folder, job.project),
        }
        mesh = config.get("mesh")
        if mesh:
            given = isinstance(mesh, Mapping)
            stage["mesh"] = dict(mesh) if given else resolve(str(mesh), job.recipe_folder, job.project)
        if config.get("limit") is not None:
            stage["limit"] = config["limit"]
        return self.launch(stage, compute_env(job))

    def resume(self, job: Job) -> str | None:
        """What an interrupted attempt had written of an index is removed; a whole one stays."""
        (job.folder / PROGRESS).unlink(missing_ok=True)
        for left in job.outputs.glob(f".{INDEX}.*"):
            shutil.rmtree(left, ignore_errors=True)
        if self.finished(job):
            return "the whole index"
        shutil.rmtree(job.outputs / INDEX, ignore_errors=True)
        (job.folder / LOG).unlink(missing_ok=True)
        return None

    def finished(self, job: Job) -> bool:
        """True when the index is whole and its report was written."""
        try:
            self.verify(job)
        except (StageFailed, Missing):
            return False
        return True

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        """One row every some thousand records: how many a second."""
        try:
            return jsonl_rows((job.folder / LOG).read_text(encoding="utf-8"))
        except OSError:
            return ()

    def verify(self, job: Job) -> Verified:
        """Compare every file's hash, and find some records by their PMIDs.

        Raises:
            Missing: the index is damaged.
            StageFailed: there is none, or it does not hold what was read.
        """
        from residency.retrieval.boolean.local import LocalSearch

        folder: Path = job.outputs / INDEX
        report = read_object(job.folder / REPORT)
        if not folder.is_dir() or not report:
            raise StageFailed("the stage ended without an index", "look into log.txt")
        search = LocalSearch.open(folder, verify=True)
        if not search.index.count == report["records"]:
            raise StageFailed(
                f"the index has {search.index.count:,} records, and its report says {report['records']:,}"
            )
        at = sorted({0, search.index.count // 2, search.index.count - 1})
        for pmid in map(str, search.index.pmids[at].tolist()):
            if search.search(f"{pmid}[uid]").pmids != (pmid,):
                raise StageFailed(f"the index does not find its own record {pmid}", "make the index again")
        return Verified({"index": folder}, {key: report[key] for key in report if key != "warnings"})


ENGINE = BooleanIndex()
