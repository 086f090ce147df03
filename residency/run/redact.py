"""Secret values are replaced by `***` wherever text is written.

Standard library only; the supervisor uses it on the log.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

MASK = "***"
SHORTEST = 4
"""A declared secret shorter than this is no secret, and replacing it would ruin the log."""

_SURE = r"API_?KEY|ACCESS_KEY|TOKEN|SECRET|PASSWORD|PASSWD"
_SURELY = re.compile(rf"(?:^|_)(?:{_SURE})$", re.IGNORECASE)
_PERHAPS = re.compile(rf"(?:^|_)(?:{_SURE}|KEY|CREDENTIALS?)(?:_|$)", re.IGNORECASE)


def looks_secret(name: str, value: str) -> bool:
    """Whether an environment variable holds a secret, by its name and the look of its value.

    `HF_TOKEN=hf_x7…` does; `SORT_KEY=name` and `KEY_FILE=/etc/key.pem` do not. Wide, since the worst
    that can come of it is a `***` too many in a log.
    """
    return bool(_PERHAPS.search(name)) and _like_a_key(value)


def surely_secret(name: str, value: str) -> bool:
    """Whether it is so surely a secret that a recipe which holds the value is refused."""
    return bool(_SURELY.search(name)) and _like_a_key(value)


def _like_a_key(value: str) -> bool:
    return (
        len(value) >= 12
        and not re.search(r"[\s/\\]", value)
        and bool(re.search(r"\d", value))
        and bool(re.search(r"[A-Za-z]", value))
    )


def secret_names(environ: Mapping[str, str], declared: Iterable[str] = ()) -> list[str]:
    """The variables of `environ` that hold secrets: those declared, and those that look it."""
    found = {name for name in declared if environ.get(name)}
    found.update(name for name, value in environ.items() if looks_secret(name, value))
    return sorted(found)


def _forms(value: str) -> set[str]:
    """A value as it may turn up: as it is, line by line, JSON-escaped, percent-encoded."""
    parts = {value, value.strip(), *(line.strip() for line in value.splitlines() if len(line.strip()) >= 8)}
    parts = {part for part in parts if len(part) >= SHORTEST}
    return parts | {json.dumps(p)[1:-1] for p in parts} | {quote(p, safe="") for p in parts}


class Redactor:
    """Replaces given values in text, bytes, and trees of plain values."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self.longest = max((len(form.encode()) for form in forms), default=0)
        """Bytes of the longest form: as much of an unfinished line may be the start of one."""
        self._text = re.compile("|".join(re.escape(form) for form in forms)) if forms else None
        self._data = re.compile(b"|".join(re.escape(form.encode()) for form in forms)) if forms else None

    @classmethod
    def of(cls, environ: Mapping[str, str], declared: Iterable[str] = ()) -> Redactor:
        """A redactor of the secrets in an environment."""
        return cls(environ[name] for name in secret_names(environ, declared))

    def finds(self, text: str) -> bool:
        """Whether a secret stands in `text`."""
        return self._text is not None and self._text.search(text) is not None

    def text(self, text: str) -> str:
        """`text` with each secret replaced."""
        return self._text.sub(MASK, text) if self._text else text

    def data(self, data: bytes) -> bytes:
        """`data` with each secret replaced."""
        return self._data.sub(MASK.encode(), data) if self._data else data

    def tree(self, value: Any) -> Any:
        """Mappings, lists and texts with each secret replaced, keys too."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {self.tree(key): self.tree(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.tree(item) for item in value]
        return value
