"""Serves a model: `python -m residency.inference.server.main server.yaml`.

The keys of the file are those of `residency.inference.server.settings.Settings`; how it listens and
ends is `residency.http_server`'s.
"""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import yaml

from residency import http_server
from residency.inference.server.settings import Settings, read


def main(arguments: list[str]) -> int:
    """Load the model and serve it until the process is stopped; returns the exit code."""
    settings = read(yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8")))
    return http_server.main(
        settings.host,
        settings.port,
        settings.token_env,
        lambda listening, url: serve(settings, listening, url),
    )


def serve(settings: Settings, listening: socket.socket, url: str) -> None:
    """Load the model, and answer until a signal comes."""
    import torch

    from residency.inference.model import load
    from residency.inference.server.app import make

    began = time.monotonic()
    if settings.threads:
        torch.set_num_threads(settings.threads)
    loaded = load(
        settings.model,
        adapter=settings.adapter,
        dtype=settings.dtype,
        device=settings.device,
        max_model_len=settings.max_model_len,
    )
    took = time.monotonic() - began
    what = f"{str(loaded.model.dtype).removeprefix('torch.')}, {loaded.model.device}"
    print(
        f"serving {settings.name} ({what}, {loaded.context:,} tokens, loaded in {took:.0f} s) at {url}/v1",
        flush=True,
    )
    http_server.run(make(loaded, settings), listening)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
