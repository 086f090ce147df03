"""A Ray cluster that a recipe names: is it there, and how does it know us?"""

from __future__ import annotations

import socket
import subprocess
import sys
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


def authentication(address: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What must be added to the environment so that the cluster takes us in.

    A cluster asks for a token unless it was started with RAY_AUTH_MODE=disabled. Who sends none to
    the one is refused, and who sends one to the other is let in, and then its actors are cancelled
    before they start. So the cluster is asked, without a token.

    Raises:
        Missing: it wants a token and none is here, or it is of another version of Ray.
    """
    if "RAY_AUTH_MODE" in environ or address.startswith("ray://"):
        return {}
    refused = _asked(address, {**environ, "RAY_AUTH_MODE": "disabled"})
    if refused is None:
        return {"RAY_AUTH_MODE": "disabled"}
    if "Auth" not in refused:
        raise Missing(
            f"the Ray cluster at {address} cannot be joined: {refused}",
            "it must run the Ray and the Python that are installed here: compare `ray --version`",
        )
    kept = Path(environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()
    if not environ.get("RAY_AUTH_TOKEN") and not kept.is_file():
        raise Missing(
            f"the Ray cluster at {address} wants a token, and there is none here",
            "copy the cluster's ~/.ray/auth_token, or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
        )
    refused = _asked(address, {**environ, "RAY_AUTH_MODE": "token"})
    if refused is not None:
        raise Missing(
            f"the Ray cluster at {address} refuses this token: {refused}",
            "copy the cluster's ~/.ray/auth_token, or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH",
        )
    return {"RAY_AUTH_MODE": "token"}


def _asked(address: str, environ: Mapping[str, str]) -> str | None:
    """Ask a cluster whether it is well, in a process of its own; returns why it will not say, or None."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(
            command, env=dict(environ), capture_output=True, text=True, timeout=6 * SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return "no answer"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1] if lines else f"ray health-check ended with {done.returncode}"
