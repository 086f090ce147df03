"""A Ray cluster that a recipe names: is it there?"""

from __future__ import annotations

import socket

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
