"""Serves an index: `python -m residency.retrieval.server.main server.yaml`.

The keys of the file are those of `residency.retrieval.server.settings.Settings`. The port is that of
RESIDENCY_PORT where it is set. Once it listens it writes `address.json` into the current folder.
SIGTERM and Ctrl-C end it when the requests under way have been answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from residency.errors import EXIT_DONE, EXIT_FAILED, EXIT_MISSING, Missing, RecipeInvalid, ResidencyError
from residency.files import write_json
from residency.retrieval.server.settings import Settings, read
from residency.serving import ADDRESS, PORT_ENV, is_loopback

GRACEFUL_SECONDS = 8
"""How long requests under way have at the end."""
KEEP_ALIVE = 60
"""Seconds that an idle connection is kept."""


def main(arguments: list[str]) -> int:
    """Open the index and serve it until the process is stopped; returns the exit code."""
    try:
        path = Path(arguments[0])
        settings = read(yaml.safe_load(path.read_text(encoding="utf-8")))
        with contextlib.closing(listen(settings)) as listening:
            url = address(settings.host, listening.getsockname()[1])
            host, port = url.removeprefix("http://").rsplit(":", 1)
            write_json(Path(ADDRESS), {"url": url, "host": host, "port": int(port), "pid": os.getpid()})
            serve(settings, listening, url)
    except ResidencyError as error:
        print(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""), flush=True)
        return error.exit_code
    except ImportError as error:
        print(f"error: the Python package {error.name} is not installed\nhint: make install", flush=True)
        return EXIT_MISSING
    except KeyboardInterrupt:
        return EXIT_DONE
    except OSError as error:
        print(f"error: {error}", flush=True)
        return EXIT_FAILED
    return EXIT_DONE


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say.

    Raises:
        RecipeInvalid: other machines would reach it, and no token is asked for; no such address.
        Missing: the token's variable is not set.
        ResidencyError: the port is taken.
    """
    if settings.token_env:
        if not os.environ.get(settings.token_env):
            raise Missing(
                f"{settings.token_env} is not set, which holds the token", f"export {settings.token_env}=…"
            )
    elif not is_loopback(settings.host):
        raise RecipeInvalid(
            f"the server would listen at {settings.host}, where other machines reach it, without a token",
            "name the variable that holds one, `token_env: RETRIEVER_TOKEN`, or listen at 127.0.0.1",
        )
    given = os.environ.get(PORT_ENV)
    port = int(given) if given else settings.port
    try:
        found = socket.getaddrinfo(settings.host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise RecipeInvalid(f"there is no address {settings.host}: {error.strerror}") from None
    family, *_, where = found[0]
    try:
        return socket.create_server(where[:2], family=family, backlog=2048)
    except OSError as error:
        raise ResidencyError(
            f"cannot listen at {settings.host}:{port}: {error.strerror}",
            f"something listens there already; --set port={port + 1} takes another, --set port=0 a free one"
            if port
            else None,
        ) from None


def address(host: str, port: int) -> str:
    """The address that clients use of a server that listens at `host`."""
    if host in ("0.0.0.0", "::", ""):
        host = socket.gethostname()
        try:
            socket.getaddrinfo(host, port)
        except OSError:
            host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
    import uvicorn

    from residency.retrieval.server.app import make

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again at its end, which would be the exit status.
            yield

    config = uvicorn.Config(
        make(searcher, settings),
        log_level="warning",
        access_log=False,
        lifespan="on",
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        ws="none",
    )
    server = Server(config)

    def stop() -> None:
        server.force_exit = server.should_exit  # the second time at once
        server.should_exit = True

    async def answer() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await server.serve(sockets=[listening])

    asyncio.run(answer())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
