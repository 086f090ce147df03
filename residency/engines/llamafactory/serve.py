"""LLaMA-Factory's own server, `llamafactory-cli api`: chat alone, one request at a time."""

from __future__ import annotations

import importlib.util
import sys
from typing import Any, ClassVar

from residency.engines import model_server
from residency.engines.base import Job, Launch
from residency.engines.llamafactory.command import STANDIN

API = "api.yaml"
OWN_SERVER = "API_KEY"


class LlamaFactoryServer(model_server.ModelServer):
    """Runs `llamafactory-cli api`, which has no /v1/completions."""

    name: ClassVar[str] = "llamafactory"
    distribution: ClassVar[str] = "llamafactory"
    health: ClassVar[str] = "/openapi.json"
    """It has no path for that; this one answers without the token."""

    def prepare(self, job: Job) -> Launch:
        """api.yaml, which LLaMA-Factory reads; server.yaml with the command in it."""
        config = model_server.settings(job, self.name)
        block: dict[str, Any] = {
            "model_name_or_path": config["model"],
            **({"adapter_name_or_path": config["adapter"]} if config.get("adapter") else {}),
            **dict(job.config.get(self.name) or {}),
        }
        env = {
            "API_HOST": "{host}",
            "API_PORT": "{port}",
            "API_MODEL_NAME": config["served_model_name"],
        }
        started = {
            **{key: config[key] for key in ("host", "port", "token_env") if key in config},
            "argv": [sys.executable, "-m", "llamafactory.cli", "api", API],
            "env": env,
            "token_to": OWN_SERVER,
        }
        around = model_server.environment(job)
        if importlib.util.find_spec("torchaudio") is None:
            around["PYTHONPATH"] = f"{STANDIN}:{around['PYTHONPATH']}"
        return Launch(
            argv=(sys.executable, "-m", "residency.engines.exec_server", model_server.CONFIG),
            files={
                model_server.CONFIG: model_server.as_text(started),
                API: model_server.as_text(block),
            },
            env=around,
        )


SERVER = LlamaFactoryServer()
