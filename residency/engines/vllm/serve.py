"""vLLM's own server."""

from __future__ import annotations

import re
from typing import Any, ClassVar

from residency import environments
from residency.engines import log, model_server
from residency.engines.base import Job, Launch
from residency.machine import memory

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
MEMORY_KEYS = {"gpu_memory_utilization", "kv_cache_memory_bytes"}
CPU_SHARE = 0.6
"""On a CPU vLLM takes 92 % of all memory when it is not told otherwise, and ends where so much is not free.
Here it is told to take this share of what is free, half of all at most."""
_LOGGED = re.compile(r"^\([^)\n]*\) ERROR [^\]\n]*\] ?(.*)$", re.MULTILINE)
"""A line that a process of the engine logged: `(EngineCore pid=31) ERROR 11-26 08:26:43 [core.py:1] text`."""


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
        if job.gpus == 0 and not MEMORY_KEYS & set(block) and (found := memory()):
            share = min(0.5, CPU_SHARE * found.free / found.total)
            block["gpu_memory_utilization"] = max(0.01, round(share, 2))
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

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The first error of a process of the engine: the later ones are of those that waited for it."""
        found = log.ERROR.search("\n".join(_LOGGED.findall(log_tail)))
        if found is None:
            return super().explain_failure(job, log_tail)
        text = found[2].strip()
        return text, self.memory_hint if "memory" in text.lower() else None

    def ignored(self) -> tuple[str, ...]:
        """Memory and batching."""
        return HOW_FAST


SERVER = Vllm()
