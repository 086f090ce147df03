"""vLLM's own server."""

from __future__ import annotations

from typing import Any, ClassVar

from residency import environments
from residency.engines import model_server
from residency.engines.base import Job, Launch

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


class Vllm(model_server.ForeignServer):
    """`vllm serve`, from the environment that `launch.py setup vllm` makes."""

    name: ClassVar[str] = "vllm"
    distribution: ClassVar[str] = "vllm"
    environment_name: ClassVar[str] = "vllm"
    install: ClassVar[str] = "python launch.py setup vllm"
    memory_hint: ClassVar[str | None] = "lower vllm.gpu_memory_utilization or vllm.max_model_len"

    def prepare(self, job: Job) -> Launch:
        """server.yaml with the command in it, and what starts that."""
        python = environments.interpreter(self.distribution, self.environment_name)
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
        return self.launch(
            job,
            config,
            [*argv, *model_server.flags(block)],
            env={"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"},
            token_to="VLLM_API_KEY",
        )

    def ignored(self) -> tuple[str, ...]:
        """Memory and batching."""
        return HOW_FAST


SERVER = Vllm()
