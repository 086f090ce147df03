"""vLLM's own server."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

from residency import environments
from residency.engines import model_server
from residency.engines.base import CheckContext, Job, Launch
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe

ENVIRONMENT = "vllm"
HOW_FAST = (
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "kv_cache_memory_bytes",
    "swap_space",
    "cpu_offload_gb",
    "uvicorn_log_level",
    "download_dir",
)
"""Keys that change no answer."""


class Vllm(model_server.ModelServer):
    """`vllm serve`, from the environment that `launch.py setup vllm` makes."""

    name: ClassVar[str] = "vllm"
    distribution: ClassVar[str] = "vllm"
    install: ClassVar[str] = "python launch.py setup vllm"
    memory_hint: ClassVar[str | None] = "lower vllm.gpu_memory_utilization or vllm.max_model_len"

    def version(self) -> str | None:
        """In its own environment, else in the launcher's."""
        return environments.version(self.distribution, ENVIRONMENT)

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """The model, and keys that are nearly right."""
        super().check(recipe, context, found)
        model_server.check_free_keys(recipe, self.name, found)

    def prepare(self, job: Job) -> Launch:
        """server.yaml with the command in it, and what starts that."""
        python = environments.interpreter(self.distribution, ENVIRONMENT)
        config = model_server.settings(job, self.name)
        block: dict[str, Any] = dict(job.config.get(self.name) or {})
        if job.gpus > 1 and not {
            "tensor_parallel_size",
            "pipeline_parallel_size",
            "data_parallel_size",
        } & set(block):
            block["tensor_parallel_size"] = job.gpus
        name, model = config["served_model_name"], config["model"]
        argv = [
            python,
            "-m",
            "vllm.entrypoints.cli.main",
            "serve",
            model,
            "--host",
            "{host}",
            "--port",
            "{port}",
        ]
        if config.get("adapter"):
            # The adapter has the name that clients know; the model below it gets another.
            argv += ["--served-model-name", f"{name}-base", "--enable-lora"]
            argv += ["--lora-modules", f"{name}={config['adapter']}"]
        else:
            argv += ["--served-model-name", name]
        started = {
            **{key: config[key] for key in ("host", "port", "token_env") if key in config},
            "argv": [*argv, *model_server.flags(block)],
            "env": {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "PYTHONPATH": ""},
            "token_to": "VLLM_API_KEY",
        }
        return Launch(
            argv=(sys.executable, "-m", "residency.engines.exec_server", model_server.CONFIG),
            files={model_server.CONFIG: model_server.as_text(started)},
            env=model_server.environment(job),
        )

    def ignored(self) -> tuple[str, ...]:
        """Memory and batching."""
        return HOW_FAST


SERVER = Vllm()
