"""The `endpoint:` block of a recipe: where a model answers, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

Api = Literal["auto", "chat", "completions"]

HOW_FAST = ("key_env", "concurrency", "timeout", "retries")
"""Keys of the block that change no answer."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A resolved `endpoint:` block."""

    url: str
    """The server's address, with or without `/v1`."""
    model: str | None = None
    """The model's name there; None: the one that the server has."""
    key_env: str | None = None
    """The environment variable that holds the key."""
    api: Api = "auto"
    """`completions`: the chat template is applied here; `chat`: messages are sent; `auto`: the first
    where the model's tokenizer is on this machine."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout: float = 300.0
    """Seconds that one request may take."""
    retries: int = 5
    """Further tries of a request that failed."""
    context: int | None = None
    """The model's context in tokens, where neither the server nor its files say it."""

    @property
    def base(self) -> str:
        """What stands before `/chat/completions`: the address, with `/v1` where it names no path."""
        url = self.url.rstrip("/")
        return url if urlsplit(url).path else url + "/v1"

    @property
    def shown(self) -> str:
        """The address without user, password, query or fragment, for files and logs."""
        return public(self.base)


def endpoint(config: Mapping[str, Any]) -> Endpoint | None:
    """The `endpoint:` block of a resolved recipe, or None where there is none."""
    given = config.get("endpoint")
    if not isinstance(given, Mapping):
        return None
    return Endpoint(**{k: v for k, v in given.items() if k in Endpoint.__slots__ and v is not None})


def public(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        host = f"{host}:{parts.port}"
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
