"""A Ray cluster that a recipe names: is it there, and how does it know us?"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from residency.errors import Missing

SECONDS = 10.0


def reach(address: str) -> None:
    """See that something listens at the address; Ray by itself tries for many minutes.

    Raises:
        Missing: nothing does.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return  # `auto`: Ray looks on this machine alone, and says at once when there is none
    hint = "see that `ray status` works from here, or correct verl.ray_kwargs.ray_init.address"
    if not port.isdigit() or not 0 < int(port) < 1 << 16:
        raise Missing(f"{address} is no address of a Ray cluster: its port is no number", hint)
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS).close()
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        raise Missing(f"there is no Ray cluster at {address}: {why}", hint) from error


def authentication(environ: Mapping[str, str]) -> dict[str, str]:
    """What must be added to the environment for a cluster that wants a token, as Ray's do by default.

    A cluster starts with a token unless it is told otherwise, and who joins it sends none unless
    told to; one that wants none does not mind.
    """
    if "RAY_AUTH_MODE" in environ:
        return {}
    kept = Path(environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    return {"RAY_AUTH_MODE": "token"} if environ.get("RAY_AUTH_TOKEN") or kept.is_file() else {}
