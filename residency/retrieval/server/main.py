"""Serves an index: `python -m residency.retrieval.server.main server.yaml`.

The keys of the file are those of `residency.retrieval.server.settings.Settings`; how it listens and
ends is `residency.http_server`'s.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import yaml

from residency import http_server
from residency.errors import Missing
from residency.retrieval.server.settings import Settings, read


def main(arguments: list[str]) -> int:
    """Open the index and serve it until the process is stopped; returns the exit code."""
    settings = read(yaml.safe_load(Path(arguments[0]).read_text(encoding="utf-8")))
    return http_server.main(
        settings.host,
        settings.port,
        settings.token_env,
        lambda listening, url: serve(settings, listening, url),
    )


def serve(settings: Settings, listening: socket.socket, url: str) -> None:
    """Open the index, and answer until a signal comes."""
    from residency.retrieval import places
    from residency.retrieval.searcher import open_index

    if not Path(settings.index).is_dir():
        raise Missing(
            f"there is no index {settings.index}",
            "give the folder that an `index` stage left, or the name of a run that made one",
        )
    if not (Path(settings.index) / places.MANIFEST).is_file():
        raise Missing(f"{settings.index} is no index: it holds no {places.MANIFEST}")
    searcher = open_index(Path(settings.index), threads=settings.threads, device=settings.device)
    print(f"serving {searcher.count:,} documents of {settings.index} at {url}", flush=True)
    run(searcher, settings, listening)


def run(searcher: Any, settings: Settings, listening: socket.socket) -> None:
    """Answer requests with an open index until SIGTERM or Ctrl-C."""
    from residency.retrieval.server.app import make

    http_server.run(make(searcher, settings), listening)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
