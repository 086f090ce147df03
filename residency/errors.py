"""The errors that reach a user, and the exit code of each.

Each error says what is wrong and what to do about it. `residency.cli` prints them
and returns their exit code; nothing else catches them.
"""

from __future__ import annotations

from typing import ClassVar

EXIT_DONE = 0
EXIT_RECIPE = 2
EXIT_MISSING = 3
EXIT_FAILED = 4
EXIT_INTERRUPTED = 5


class ResidencyError(Exception):
    """What went wrong, in one sentence, and what to do (`hint`)."""

    exit_code: ClassVar[int] = EXIT_FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class RecipeInvalid(ResidencyError):
    """The recipe, or the command line, is wrong."""

    exit_code = EXIT_RECIPE


class Missing(ResidencyError):
    """Something the run needs is not there: data, a model, an engine, a GPU."""

    exit_code = EXIT_MISSING


class StageFailed(ResidencyError):
    """A stage ran and did not do what it should have done."""

    exit_code = EXIT_FAILED


class Interrupted(ResidencyError):
    """The user stopped the run; what was done is kept."""

    exit_code = EXIT_INTERRUPTED
