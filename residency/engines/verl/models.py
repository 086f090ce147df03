"""What can be told of a model's folder without loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from residency.files import read_object


def config(folder: Path) -> dict[str, Any]:
    """config.json, or nothing where there is none that can be read."""
    return read_object(folder / "config.json")


def positions(folder: Path) -> int | None:
    """The most tokens that the model takes: `max_position_embeddings`, or None when it does not say."""
    own = config(folder)
    text = own.get("text_config")
    for part in (own, text if isinstance(text, dict) else {}):
        most = part.get("max_position_embeddings")
        if isinstance(most, int) and most > 0:
            return most
    return None


def has_chat_template(folder: Path) -> bool:
    """True when the tokenizer brings a chat template, in one of the places transformers looks in."""
    if (folder / "chat_template.jinja").is_file() or (folder / "additional_chat_templates").is_dir():
        return True
    if read_object(folder / "chat_template.json").get("chat_template"):
        return True
    return bool(read_object(folder / "tokenizer_config.json").get("chat_template"))


def has_tokenizer(folder: Path) -> bool:
    """True when the folder holds a tokenizer."""
    return any((folder / name).is_file() for name in ("tokenizer_config.json", "tokenizer.json"))
