"""The engine of `kind: index`: one command of ours around an encoder, FAISS and bm25s.

A stage's folder holds `stage.yaml`, which the command reads, `log.jsonl` with the speed of each
shard, `progress.json`, and `outputs/index` once it is whole. Vectors are kept in the cache until
then, so that neither a kill nor a recall below the floor loses them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.engines import log
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.engines.retrieval.spec import corpora
from residency.engines.transformers.engine import resolve
from residency.errors import StageFailed
from residency.files import jsonl_rows, read_json
from residency.paths import PROJECT

MAIN = "residency.engines.retrieval.main"
CONFIG = "stage.yaml"
PROGRESS = "progress.json"
LOG = "log.jsonl"
INDEX = "index"
REPORT = "report.json"
KEYS = ("columns", "titles_alone", "limit", "index", "bm25", "search", "fusion_k")


class Retrieval(Engine):
    """Runs `residency.engines.retrieval.main` in the stage's folder."""

    name: ClassVar[str] = "retrieval"
    distribution: ClassVar[str] = "residency"
    exits_as_launcher: ClassVar[bool] = True

    def version(self) -> str | None:
        """The version of the project itself."""
        return __version__

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
        given = os.environ.get("PYTHONPATH")
        env = {
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
            # FAISS and torch each bring an OpenMP of their own: threads that wait must not spin.
            "OMP_NUM_THREADS": str(job.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONUNBUFFERED": "1",
        }
        if job.gpus == 0:
            env["CUDA_VISIBLE_DEVICES"] = ""
        if offline:
            env["HF_HUB_OFFLINE"] = "1"
        text = yaml.safe_dump(stage, sort_keys=False, allow_unicode=True, width=100)
        return Launch(argv=(sys.executable, "-m", MAIN, CONFIG), files={CONFIG: text}, env=env)

    def resume(self, job: Job) -> str | None:
        """Nothing is removed: the command keeps what is whole, and says what it goes on from."""
        (job.folder / PROGRESS).unlink(missing_ok=True)
        rows = _rows(job)
        return f"{rows[-1]['step']:,} documents" if rows else None

    def progress(self, job: Job) -> Progress:
        """What the command wrote down last."""
        try:
            found = read_json(job.folder / PROGRESS)
        except (OSError, ValueError):
            found = None
        if not isinstance(found, Mapping):
            return Progress(message=log.last_line(log.tail(job.folder / "log.txt", 4096))[:100] or "starting")
        return Progress(
            step=found.get("step"),
            total=found.get("total"),
            unit="document",
            message=str(found.get("message") or ""),
        )

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
        if not len(Documents(folder)) == made.count == report["documents"]:
            raise StageFailed(
                f"the index has {len(Documents(folder)):,} documents, and its manifest says {made.count:,}"
            )
        metrics = {
            key: value for key, value in report.items() if key not in ("files", "warnings", "left_out")
        }
        return Verified({"index": folder}, metrics, tuple(report.get("warnings") or ()))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The error that the command printed, or the last one of a traceback."""
        said = re.findall(r"^error: (.+)$", log_tail, re.MULTILINE)
        if said:
            hints = re.findall(r"^hint: (.+)$", log_tail, re.MULTILINE)
            return said[-1], hints[-1] if hints else None
        missing = re.search(r"No module named '([\w.]+)'", log_tail)
        if missing:
            return f"the Python package {missing[1]} is not installed", "make install"
        if "OutOfMemoryError" in log_tail:
            return "the GPU ran out of memory", "lower encoder.batch_tokens"
        if re.search(r"MemoryError|can't allocate memory|std::bad_alloc", log_tail):
            hint = "lower encoder.batch_tokens, or choose an index.type that is smaller: sq8, ivf_pq"
            return "the machine ran out of memory", hint
        return log.last_error(log_tail) or log.last_line(log_tail) or "it printed nothing", None


def _rows(job: Job) -> list[dict[str, Any]]:
    try:
        found = jsonl_rows((job.folder / LOG).read_text(encoding="utf-8"))
    except OSError:
        return []
    return [row for _, row in sorted({int(row["step"]): row for row in found}.items())]


ENGINE = Retrieval()
