"""SGLang's own server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from residency import environments
from residency.engines import model_server
from residency.engines.base import Job, Launch

START = Path(__file__).parent / "start.py"
HOW_FAST = (
    "mem_fraction_static",
    "max_running_requests",
    "max_total_tokens",
    "disable_cuda_graph",
    "log_level",
)
"""Keys that change no answer."""


class Sglang(model_server.ForeignServer):
    """`sglang.launch_server`, from the environment that `launch.py setup sglang` makes."""

    name: ClassVar[str] = "sglang"
    distribution: ClassVar[str] = "sglang"
    environment_name: ClassVar[str] = "sglang"
    install: ClassVar[str] = "python launch.py setup sglang"
    takes_adapter: ClassVar[bool] = False
    memory_hint: ClassVar[str | None] = "lower sglang.mem_fraction_static or sglang.context_length"

    def prepare(self, job: Job) -> Launch:
        """server.yaml with the command in it, and what starts that."""
        python = environments.interpreter(self.distribution, self.environment_name)
        config = model_server.settings(job, self.name)
        block: dict[str, Any] = dict(job.config.get(self.name) or {})
        if job.gpus > 1 and not {"tp_size", "dp_size"} & set(block):
            block["tp_size"] = job.gpus
        if job.gpus == 0:
            block.setdefault("device", "cpu")
        argv = [python, str(START), "--model-path", config["model"], "--host", "{host}", "--port", "{port}"]
        argv += ["--served-model-name", config["served_model_name"], *model_server.flags(block)]
        return self.launch(job, config, argv, env={}, token_to="RESIDENCY_SGLANG_TOKEN")

    def ignored(self) -> tuple[str, ...]:
        """Memory and batching."""
        return HOW_FAST


SERVER = Sglang()
