"""What verl says of each rollout is said once a process: a log must show what went wrong."""

from __future__ import annotations

import logging
from types import ModuleType


class Once(logging.Filter):
    """Passes each message once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """True the first time."""
        text = record.getMessage()
        new = text not in self._said
        self._said.add(text)
        return new


def once(module: ModuleType) -> None:
    """Have the module's logger say each thing once."""
    module.logger.addFilter(Once())
