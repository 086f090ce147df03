"""What was asked, whatever answered: the messages of every question, before any chat template."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from residency.evaluation.prompts import prompt_hash


class Asked:
    """Remembers the messages behind each prompt that a model's chat template made."""

    def __init__(self) -> None:
        self._messages: dict[str, list[dict[str, Any]]] = {}

    def attach(self, lm: Any) -> None:
        """Listen to `lm.apply_chat_template`."""
        render: Callable[..., str] = lm.apply_chat_template

        def note(chat_history: list[dict[str, Any]], *args: Any, **kwargs: Any) -> str:
            text = render(chat_history, *args, **kwargs)
            self._messages[str(text)] = [
                {"role": str(m["role"]), "content": m["content"]} for m in chat_history
            ]
            return text

        lm.apply_chat_template = note

    def messages(self, prompt: str) -> list[dict[str, Any]]:
        """The messages of a prompt; one that no template made is a user's message."""
        return self._messages.get(prompt) or [{"role": "user", "content": prompt}]

    def hash(self, samples: Sequence[Mapping[str, Any]]) -> str:
        """`prompt_hash` over all questions in the order of the data, as 64 hex digits.

        Equal hashes say that two runs asked the same, whatever engine answered. Prompts that no
        chat template made hash as they were sent.
        """
        first: dict[int, str] = {}
        for sample in samples:
            first.setdefault(int(sample["doc_id"]), str(sample["arguments"][0][0]))
        return prompt_hash(self.messages(first[number]) for number in sorted(first))

    def shown(self, prompt: str) -> str:
        """A prompt to be read: messages that were sent as such become text."""
        if prompt.startswith("[{") and prompt in self._messages:
            return "\n\n".join(f"{m['role']}: {m['content']}" for m in self._messages[prompt])
        return prompt


def packed(messages: Sequence[Mapping[str, Any]]) -> str:
    """Messages as the one text that lm-eval passes on, for a model that takes messages."""
    return json.dumps(list(messages), ensure_ascii=False)


def unpacked(text: str) -> list[dict[str, Any]]:
    """The way back. Text that was never packed is a user's message."""
    try:
        found = json.loads(text) if text.startswith("[{") else None
    except ValueError:
        found = None
    if isinstance(found, list) and all(isinstance(m, dict) and "role" in m for m in found):
        return found
    return [{"role": "user", "content": text}]
