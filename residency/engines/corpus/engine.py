"""The engine of `corpus` stages: one command of our own."""

from __future__ import annotations

from typing import ClassVar

from residency.engines.base import Job, Launch, Verified
from residency.engines.corpus import spec
from residency.engines.own import OwnCommand, project_env


class CorpusEngine(OwnCommand):
    """PubMed records into Parquet."""

    name: ClassVar[str] = "corpus"
    main: ClassVar[str] = "residency.engines.corpus.main"
    unit: ClassVar[str] = "record"

    def prepare(self, job: Job) -> Launch:
        """`stage.yaml` and the command that reads it."""
        config = {
            "kind": job.kind,
            "name": job.name,
            "recipe_folder": str(job.recipe_folder),
            "threads": job.threads,
            **{key: job.config[key] for key in spec.KEYS if job.config.get(key)},
        }
        asked = spec.query(job.config)
        notes = []
        if asked is not None and asked.standin is not None:
            notes.append("PubMed is not asked: the records under `pubmed.standin` stand in for it")
        elif asked is not None and not asked.email:
            notes.append("no `pubmed.email`: NCBI wants one, to write to before it blocks an address")
        return self.launch(config, project_env(job), notes=tuple(notes))

    def resume(self, job: Job) -> str | None:
        """What was found, fetched and read stays."""
        read = len(list((job.folder / "spools").glob("*/done.json")))
        if read:
            return f"{read} files read"
        if (job.folder / "search" / "searches.jsonl").exists():
            return "the search and what was fetched"
        return None

    def verify(self, job: Job) -> Verified:
        """The corpus is whole, in order, and what its manifest says."""
        from residency.engines.corpus.verify import verify

        return verify(job.outputs, job.config)


ENGINE = CorpusEngine()
"""The one instance."""
