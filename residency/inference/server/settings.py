"""How a model's server is set: what it serves, where it listens, what it bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of `server.yaml`. Defaults as in schemas/kinds/serve.json."""

    model: str
    """The model's folder or hub name."""
    adapter: str | None = None
    """An adapter that is merged into it."""
    served_model_name: str | None = None
    """The name that clients know it by; default: the folder's or the hub's."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0: any free one."""
    token_env: str | None = None
    """The environment variable with the token that clients must send."""
    dtype: str = "auto"
    device: str = "auto"
    threads: int | None = None
    max_model_len: int | None = None
    """Tokens of prompt and answer at most; default: the model's own context."""
    batch: int = 32
    """Answers under way at most."""
    queue: int = 1024
    """Answers that may wait."""
    timeout: float = 600.0
    """Seconds that a request may take."""
    prefill_tokens: int = 4096
    """Prompt tokens that are read in one pass."""
    cache_tokens: int | None = None
    """Rows times tokens of the longest that are kept at most; default: what the memory has room for."""
    max_tokens: int | None = None
    """Tokens of one answer at most, whatever a request asks; default: what the context leaves."""
    max_n: int = 128
    """Answers to one prompt at most."""
    max_body_mb: float = 8.0

    @property
    def max_body(self) -> int:
        """Bytes of a request's body at most."""
        return int(self.max_body_mb * MEGABYTE)

    @property
    def name(self) -> str:
        """The model's name as clients see it."""
        if self.served_model_name:
            return self.served_model_name
        path = self.model.rstrip("/")
        return path.rpartition("/")[2] if path.startswith("/") else path


def read(config: Mapping[str, Any]) -> Settings:
    """The settings in a mapping; keys that are not known are passed over."""
    known = {field.name for field in fields(Settings)}
    return Settings(**{key: value for key, value in config.items() if key in known})
