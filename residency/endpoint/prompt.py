"""A model's prompts as its tokenizer makes them: the chat template, the tokens, the length that fits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from residency.errors import Missing

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
"""Where config.json says how long a model's context is."""


class Tokenizer:
    """The tokenizer of a model that answers elsewhere, from its folder or by its hub name."""

    def __init__(self, model: str) -> None:
        """Load it. Raises Missing when there is none."""
        import transformers

        try:
            self.inner: Any = transformers.AutoTokenizer.from_pretrained(model)
        except (OSError, ValueError) as error:
            text = " ".join(str(error).split())[:200]
            raise Missing(
                f"the tokenizer of {model} cannot be read: {text}",
                "name a folder that holds it under `model:`, or write `api: chat` under `endpoint:`",
            ) from None
        self.context = context(Path(model))
        """Tokens of the model's context as its files say, or None."""

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> str:
        """Messages as the chat template writes them; a last message of the assistant's is left open.

        Raises:
            Missing: The tokenizer has no chat template.
        """
        if not self.inner.chat_template:
            raise Missing(
                "the model's tokenizer has no chat template",
                "leave the chat template out, or take an instruction-tuned model",
            )
        from jinja2.exceptions import TemplateError

        def write(turns: Sequence[Mapping[str, Any]]) -> str:
            text: str = self.inner.apply_chat_template(
                [dict(turn) for turn in turns],
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
            return text

        try:
            return write(messages)
        except TemplateError:  # some templates know no system message; it is left out, as lm-eval does
            return write([turn for turn in messages if turn["role"] != "system"])

    def encode(self, text: str) -> list[int]:
        """A prompt's tokens; a start token is not put before one that the template has written."""
        bos = self.inner.bos_token
        own = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
        tokens: list[int] = self.inner.encode(text, **own)
        return tokens


def context(folder: Path) -> int | None:
    """The context in tokens that a checkpoint's config.json states, or None."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    parts = [found, found.get("text_config")] if isinstance(found, dict) else []
    lengths = [part.get(key) for part in parts if isinstance(part, dict) for key in CONTEXT_KEYS]
    return next((length for length in lengths if isinstance(length, int)), None)
