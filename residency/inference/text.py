"""The text of an answer, token by token, and where a stop text ends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BEFORE = 6
"""Tokens of the prompt that the answer's first are decoded with: some tokenizers drop the space at the
beginning of a text, which an answer's beginning is not."""
_BROKEN = "\ufffd"


class Text:
    """What tokens say, as they come.

    A token may be a part of a character only, and a text that ends in one is not shown before the rest
    has come. A text that may be the beginning of a stop text is not shown either.
    """

    def __init__(
        self,
        tokenizer: Any,
        prompt: Sequence[int],
        stops: Sequence[str] = (),
        *,
        skip_special_tokens: bool = True,
    ) -> None:
        """An answer to `prompt` that one of `stops` ends."""
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._stops = tuple(stops)
        self._tokens = list(prompt[-_BEFORE:])
        self._start = 0
        """Tokens from here on are decoded together with new ones."""
        self._read = len(self._tokens)
        """Tokens before here are in the text."""
        self._text = ""
        self._looked = 0
        """No stop text begins before this character."""
        self.stopped = False
        """Whether a stop text has come; the text ends before it."""

    def push(self, tokens: Sequence[int], *, last: bool = False) -> None:
        """Take more tokens; `last`: no more will come."""
        if self.stopped:
            return
        self._tokens += tokens
        before = self._decode(self._tokens[self._start : self._read])
        both = self._decode(self._tokens[self._start :])
        if not last and (both.endswith(_BROKEN) or len(both) <= len(before)):
            return
        self._text += both[len(before) :]
        self._start, self._read = self._read, len(self._tokens)
        self._look()

    @property
    def text(self) -> str:
        """All of it so far, without the stop text."""
        return self._text

    @property
    def shown(self) -> str:
        """As much as no later token can take back."""
        if self.stopped or not self._stops:
            return self._text
        return self._text[: len(self._text) - self._doubtful()]

    def _look(self) -> None:
        found = [at for stop in self._stops if (at := self._text.find(stop, self._looked)) >= 0]
        if found:
            self._text = self._text[: min(found)]
            self.stopped = True
        elif self._stops:
            self._looked = max(0, len(self._text) - max(map(len, self._stops)) + 1)

    def _doubtful(self) -> int:
        """The longest end of the text with which a stop text begins, in characters."""
        longest = max(map(len, self._stops)) - 1
        for size in range(min(longest, len(self._text)), 0, -1):
            end = self._text[-size:]
            if any(stop.startswith(end) for stop in self._stops):
                return size
        return 0

    def _decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(
            tokens, skip_special_tokens=self._skip, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text
