"""The engine of `kind: index`: one command of ours around an encoder, FAISS and bm25s.

A stage's folder holds `stage.yaml`, which the command reads, `log.jsonl` with the speed of each
shard, `progress.json`, and `outputs/index` once it is whole. Vectors are kept in the cache until
then, so that neither a kill nor a recall below the floor loses them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import Job, Launch, Verified
from residency.engines.own import PROGRESS, OwnCommand, compute_env
from residency.engines.retrieval.spec import corpora
from residency.engines.transformers.engine import resolve
from residency.errors import StageFailed
from residency.files import jsonl_rows, read_json

LOG = "log.jsonl"
INDEX = "index"
REPORT = "report.json"
KEYS = ("columns", "titles_alone", "limit", "index", "bm25", "search", "fusion_k")


class Retrieval(OwnCommand):
    """Runs `residency.engines.retrieval.main` in the stage's folder."""

    name: ClassVar[str] = "retrieval"
    main: ClassVar[str] = "residency.engines.retrieval.main"
    unit: ClassVar[str] = "document"
    less_memory: ClassVar[str | None] = (
        "lower encoder.batch_tokens, or choose an index.type that is smaller: sq8, ivf_pq"
    )

    def gpus(self, config: Mapping[str, Any], there: int) -> int | None:
        """Words alone need none."""
        return None if config.get("encoder") else 0

    def prepare(self, job: Job) -> Launch:
        """stage.yaml, and the command that reads it."""
        config = job.config
        stage: dict[str, Any] = {
            "name": config.get("name") or job.name,
            "base": str(job.recipe_folder),
            "corpus": corpora(config, job.recipe_folder, job.project),
            **{key: config[key] for key in KEYS if config.get(key) is not None},
            "threads": job.threads,
            "gpus": job.gpus,
        }
        offline = True
        if config.get("encoder"):
            encoder = dict(config["encoder"])
            for key in ("model", "query_model"):
                if isinstance(encoder.get(key), str):
                    encoder[key] = resolve(encoder[key], job.recipe_folder, job.project)
                    offline &= Path(encoder[key]).is_absolute()
            stage["encoder"] = encoder
        env = compute_env(job)
        if offline:
            env["HF_HUB_OFFLINE"] = "1"
        return self.launch(stage, env)

    def resume(self, job: Job) -> str | None:
        """Nothing is removed: the command keeps what is whole, and says what it goes on from."""
        (job.folder / PROGRESS).unlink(missing_ok=True)
        rows = _rows(job)
        return f"{rows[-1]['step']:,} documents" if rows else None

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        """One row a shard that was encoded."""
        return _rows(job)

    def verify(self, job: Job) -> Verified:
        """See that the index is whole, that its parts agree, and that it is what was measured.

        Raises:
            StageFailed: it is not.
        """
        from residency.retrieval import manifest
        from residency.retrieval.documents import Documents

        folder = job.outputs / INDEX
        report = read_json(folder / REPORT)
        if not isinstance(report, Mapping):
            raise StageFailed("the stage ended without an index", "look into log.txt")
        made = manifest.read(folder)
        for name, size in report["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise StageFailed(f"{path} is not the file that was written", "make the index again")
        count = len(Documents(folder))
        if not count == made.count == report["documents"]:
            raise StageFailed(f"the index has {count:,} documents, and its manifest says {made.count:,}")
        metrics = {
            key: value for key, value in report.items() if key not in ("files", "warnings", "left_out")
        }
        return Verified({"index": folder}, metrics, tuple(report.get("warnings") or ()))


def _rows(job: Job) -> list[dict[str, Any]]:
    try:
        found = jsonl_rows((job.folder / LOG).read_text(encoding="utf-8"))
    except OSError:
        return []
    return [row for _, row in sorted({int(row["step"]): row for row in found}.items())]


ENGINE = Retrieval()
