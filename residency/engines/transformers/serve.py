"""The embedded server: a transformers model behind OpenAI's API, requests batched continuously."""

from __future__ import annotations

import sys
from typing import ClassVar

from residency.engines import model_server
from residency.engines.base import Job, Launch

MAIN = "residency.inference.server.main"
HOW_FAST = (
    "batch",
    "queue",
    "timeout",
    "prefill_tokens",
    "cache_tokens",
    "max_n",
    "max_body_mb",
    "threads",
    "device",
)
"""Keys that bound and speed up the server, and change no answer."""


class TransformersServer(model_server.ModelServer):
    """Runs `residency.inference.server.main` in the service's folder."""

    name: ClassVar[str] = "transformers"
    distribution: ClassVar[str] = "transformers"
    exits_as_launcher: ClassVar[bool] = True
    memory_hint: ClassVar[str | None] = "lower transformers.cache_tokens or transformers.batch"
    sources: ClassVar[tuple[str, ...]] = (
        "residency.inference.decoder",
        "residency.inference.sampling",
        "residency.inference.server.prompts",
    )

    def prepare(self, job: Job) -> Launch:
        """server.yaml, and the command that reads it."""
        config = model_server.settings(job, self.name)
        config.setdefault("threads", max(1, job.threads))
        config.setdefault("device", "cuda" if job.gpus else "cpu")
        return Launch(
            argv=(sys.executable, "-m", MAIN, model_server.CONFIG),
            files={model_server.CONFIG: model_server.as_text(config)},
            env=model_server.environment(job),
        )

    def ignored(self) -> tuple[str, ...]:
        """Bounds and batching."""
        return HOW_FAST


SERVER = TransformersServer()
