"""How long to wait for a server and when to ask again, for all that fetches over HTTP."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
"""Statuses of a server that is busy or broken for the moment: asked again later it may answer."""
_REASONS = {
    "ConnectTimeout": "the server could not be reached in time",
    "ReadTimeout": "the server fell silent",
    "ReadTimeoutError": "the server fell silent",
    "SSLError": "the server's certificate is not trusted",
    "ProxyError": "the proxy could not be reached",
    "ConnectionError": "the server could not be reached",
    "ProtocolError": "the connection broke off",
    "IncompleteRead": "the connection broke off",
    "ChunkedEncodingError": "the connection broke off",
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what."""

    connect: float = 15.0
    """Seconds to reach the server."""
    read: float = 60.0
    """Seconds without a single byte."""
    whole: float = 300.0
    """Seconds for an answer in all, where an answer is short; a download may take as long as it moves."""
    tries: int = 6
    """Attempts in a row that bring nothing new."""
    first_wait: float = 1.0
    """Seconds before the second attempt; doubled for each further one, less up to a half by chance."""
    longest_wait: float = 60.0
    longest_asked: float = 600.0
    """The longest Retry-After that is honoured; beyond it the request gives up and says so."""
    redirects: int = 10
    sleep: Callable[[float], None] = field(default=time.sleep)

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, where the server does not say.

        By chance between a half and all of it: many that failed together must not come back together.
        """
        return min(self.longest_wait, self.first_wait * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)


def retry_after(text: str | None) -> float | None:
    """The seconds that a `Retry-After` asks for, as a number or a date; None where it says nothing sound."""
    text = (text or "").strip()
    if not text:
        return None
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def reason(error: BaseException) -> str:
    """An error of the network in a few words, without addresses, which may hold secrets."""
    name = type(error).__name__
    return _REASONS.get(name, f"the network failed ({name})")
