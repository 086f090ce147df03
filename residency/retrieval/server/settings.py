"""How a retrieval server is set: where it listens, what it bounds, how it batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of `server.yaml`. Defaults as in schemas/kinds/serve.json."""

    index: str
    """The index's folder."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free one."""
    token_env: str | None = None
    """The environment variable with the token that clients must send."""
    topk: int = 3
    """Documents for each query where the request does not say."""
    max_topk: int = 100
    max_queries: int = 512
    max_query_chars: int = 20_000
    max_body_mb: float = 8.0
    batch: int = 64
    """Queries that are searched together at most."""
    wait_ms: float = 2.0
    """How long a query waits for others."""
    queue: int = 4096
    """Queries that may wait."""
    timeout: float = 60.0
    """Seconds that a request may take."""
    threads: int | None = None
    device: str = "cpu"

    @property
    def max_body(self) -> int:
        """Bytes of a request's body at most."""
        return int(self.max_body_mb * MEGABYTE)

    @property
    def default_topk(self) -> int:
        """`topk`, within what is allowed."""
        return min(self.topk, self.max_topk)


def read(config: Mapping[str, Any]) -> Settings:
    """The settings in a mapping; keys that are not known are passed over."""
    known = {field.name for field in fields(Settings)}
    return Settings(**{key: value for key, value in config.items() if key in known})
