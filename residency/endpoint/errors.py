"""What can go wrong when a model is asked over a network."""

from __future__ import annotations

import re

from residency.errors import Missing, RecipeInvalid, StageFailed

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|maximum context|context (?:length|window|size)"
    r"|longer than the (?:model|context)|(?:prompt|input) is too long|max_model_len|too many tokens",
    re.IGNORECASE,
)


class Trouble(Exception):
    """A try that may go better the next time: the text says what was wrong with it."""

    def __init__(
        self, text: str, *, wait: float | None = None, reached: bool = True, slow: bool = False
    ) -> None:
        super().__init__(text)
        self.wait = wait
        """Seconds after which the server wants to be asked again."""
        self.reached = reached
        """False when nothing answered at all."""
        self.slow = slow
        """True when the try has cost all the time that it may take."""


class TooLong(Exception):
    """The prompt does not fit into the model's context, the server says."""


class Refused(StageFailed):
    """The server does not take the request, and would not the next time."""


class GaveUp(StageFailed):
    """A request failed as often as it may."""


class NeverThere(Missing):
    """Nothing ever answered at the address."""


class BadKey(Missing):
    """The server does not take the key."""


class NoModel(RecipeInvalid):
    """The server has several models, and the recipe names none."""


def is_too_long(text: str) -> bool:
    """Whether a refusal says that the prompt is longer than the context."""
    return bool(_TOO_LONG.search(text))
