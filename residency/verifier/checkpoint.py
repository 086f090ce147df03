"""What a verifier's folder holds, seen without loading it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.engines import hf_folder
from residency.errors import Missing, RecipeInvalid
from residency.files import read_json
from residency.verifier import text

SETTINGS = "verifier.json"
"""How a verifier of ours was trained, beside its weights: {"template", "max_length", …}."""
MAX_LENGTH = 4000
"""Tokens of text and reference at most, as published; less where the model takes less."""
LABELS = {0: "wrong", 1: "right"}
HEADS = ("score.", "classifier.", "classification_head.", "logits_proj.", "sequence_summary.")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a verifier wants its text."""

    template: str = text.TEMPLATE
    max_length: int = MAX_LENGTH


def check(folder: Path) -> None:
    """See that a folder holds a sequence classifier of two classes.

    Raises:
        Missing: there is no such folder, or no model in it.
        RecipeInvalid: it holds another kind of model.
        StageFailed: its weights are not whole.
    """
    if not folder.is_dir():
        raise Missing(
            f"the verifier {folder} is not there",
            "give the folder of a two-class model, or the output of a stage of `kind: verifier`",
        )
    if not (folder / "config.json").is_file():
        adapter = (folder / hf_folder.ADAPTER_CONFIG).is_file()
        hint = "it is an adapter: merge it into its base with `kind: export`" if adapter else None
        raise Missing(f"{folder} holds no config.json, so it is no model", hint)
    config = hf_folder.read_json(folder / "config.json")
    named = [str(name) for name in config.get("architectures") or []]
    headless = [name for name in named if "ForSequenceClassification" not in name]
    tensors = (
        hf_folder.read_weights(folder) if any(folder.glob("*.safetensors")) else None
    )  # older weights (*.bin) are seen when they are loaded
    no_head = tensors is not None and not any(part in name for name in tensors for part in HEADS)
    if headless or no_head:
        what = headless[0] if headless else "a model"
        raise RecipeInvalid(
            f"the verifier {folder} is {what} without a classification head",
            "train one from it: a stage of `kind: verifier` with `model:` this folder",
        )
    labels = classes(config)
    if labels != 2:
        raise RecipeInvalid(
            f"the verifier {folder} tells {labels} classes apart, and a verifier has two: wrong and right"
        )


def classes(config: dict[str, Any]) -> int:
    """The number of classes that a configuration states; transformers writes none for two."""
    if isinstance(config.get("id2label"), dict):
        return len(config["id2label"])
    return int(config.get("num_labels") or 2)


def settings(folder: Path) -> Settings:
    """How the verifier in a folder was trained to read; the defaults for one that does not say."""
    said = read_json(folder / SETTINGS)
    if not isinstance(said, dict):
        return Settings()
    return Settings(
        template=str(said.get("template") or text.TEMPLATE),
        max_length=int(said.get("max_length") or MAX_LENGTH),
    )
