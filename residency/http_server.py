"""What the project's own servers share: listening, the token, reading a body, ending when asked to.

A server listens at the port of RESIDENCY_PORT where that is set, else at its own, and writes
`address.json` into the current folder once it does. SIGTERM and Ctrl-C end it when the requests under
way have been answered, a second one at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from residency.errors import EXIT_DONE, EXIT_FAILED, EXIT_MISSING, Missing, RecipeInvalid, ResidencyError
from residency.files import write_json
from residency.serving import ADDRESS, PORT_ENV, is_loopback

GRACEFUL_SECONDS = 8
"""How long requests under way have at the end."""
KEEP_ALIVE = 60
"""Seconds that an idle connection is kept."""
BODY_SECONDS = 30.0
"""How long a client may take to send its request."""
DISCARDED = 64_000_000
"""Bytes of a body that is too large which are read and dropped: a client that is cut off while it sends
would not read why."""


def main(host: str, port: int, token_env: str | None, serve: Callable[[socket.socket, str], None]) -> int:
    """Listen, tell the address, and serve until the process is stopped; returns the exit code.

    Args:
        host: Where to listen.
        port: The port, unless RESIDENCY_PORT names another; 0: any free one.
        token_env: The variable that holds the token that clients must send.
        serve: Serves at a socket that listens; told its address too.
    """
    try:
        with contextlib.closing(listen(host, port, token_env)) as listening:
            url = address(host, listening.getsockname()[1])
            tell(url)
            serve(listening, url)
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


def listen(host: str, port: int, token_env: str | None) -> socket.socket:
    """A socket that listens.

    Raises:
        RecipeInvalid: other machines would reach it, and no token is asked for; no such address.
        Missing: the token's variable is not set.
        ResidencyError: the port is taken.
    """
    check_open(host, token_env)
    given = os.environ.get(PORT_ENV)
    port = int(given) if given else port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise RecipeInvalid(f"there is no address {host}: {error.strerror}") from None
    family, *_, where = found[0]
    try:
        return socket.create_server(where[:2], family=family, backlog=2048)
    except OSError as error:
        raise ResidencyError(
            f"cannot listen at {host}:{port}: {error.strerror}",
            f"something listens there already; --set port={port + 1} takes another, --set port=0 a free one"
            if port
            else None,
        ) from None


def check_open(host: str, token_env: str | None) -> None:
    """See that a server that other machines reach asks for a token, and that there is one.

    Raises:
        RecipeInvalid: it asks for none.
        Missing: its variable is not set.
    """
    if token_env:
        if not os.environ.get(token_env):
            raise Missing(f"{token_env} is not set, which holds the token", f"export {token_env}=…")
    elif not is_loopback(host):
        raise RecipeInvalid(
            f"the server would listen at {host}, where other machines reach it, without a token",
            "name the variable that holds one, `token_env: SERVER_TOKEN`, or listen at 127.0.0.1",
        )


def address(host: str, port: int) -> str:
    """The address that clients use of a server that listens at `host`."""
    if host in ("0.0.0.0", "::", ""):
        host = socket.gethostname()
        try:
            socket.getaddrinfo(host, port)
        except OSError:
            host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def tell(url: str) -> None:
    """Write the address into the current folder, for the launcher."""
    host, port = url.removeprefix("http://").rsplit(":", 1)
    write_json(Path(ADDRESS), {"url": url, "host": host, "port": int(port), "pid": os.getpid()})


def run(app: Any, listening: socket.socket) -> None:
    """Answer requests until SIGTERM or Ctrl-C."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            # uvicorn's own raises the signal again at its end, which would be the exit status.
            yield

    config = uvicorn.Config(
        app,
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


class Gone(Exception):
    """The client went away."""


class BodyRefused(Exception):
    """A body that is too large (413), comes too slowly (408), or is not JSON (400)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def json_of(body: bytes) -> Any:
    """What a body of JSON holds.

    Raises:
        BodyRefused: it is not UTF-8, or not JSON.
    """
    import orjson

    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise BodyRefused(400, f"the body is not UTF-8: byte {error.start} cannot be read") from None
    try:
        return orjson.loads(body)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise BodyRefused(400, f"the body is not JSON: {error}") from None


async def read_body(request: Any, most: int) -> bytes:
    """The body of a request.

    Args:
        request: Starlette's.
        most: Bytes that are taken.

    Raises:
        BodyRefused: it is too large, or comes too slowly.
        Gone: the client went away.
    """
    from starlette.requests import ClientDisconnect

    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > most:
                    parts.clear()
                    if size > most + DISCARDED:
                        break
                else:
                    parts.append(part)
    except TimeoutError:
        raise BodyRefused(408, f"the request did not arrive within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise Gone from None
    if size > most:
        raise BodyRefused(413, f"the body is too large; at most {most:,} bytes are taken")
    return b"".join(parts)


def token_of(token_env: str | None) -> str:
    """The token that clients must send; empty: none."""
    return os.environ.get(token_env, "") if token_env else ""


def knows(authorization: str, token: str) -> bool:
    """Whether a header `Authorization: Bearer …` holds the token; always, where none is asked for."""
    if not token:
        return True
    scheme, _, given = authorization.partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())
