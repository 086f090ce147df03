"""A model's folder: where it is, what it says of how texts become vectors, and its hash.

sentence-transformers keeps that beside the weights: `modules.json` lists the layers, `1_Pooling/`
how token vectors become one, `sentence_bert_config.json` the length, and
`config_sentence_transformers.json` the texts that go before queries and documents.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.errors import StageFailed
from residency.files import sha256_file, sha256_value

POOLINGS = ("mean", "cls", "last")
_MODES = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
    "mean": "mean",
    "cls": "cls",
    "lasttoken": "last",
}
_PLAIN = ("Transformer", "Pooling", "Normalize")
_QUERY, _PASSAGE = ("query", "search_query"), ("passage", "document", "search_document", "corpus")
_WEIGHTS = (".safetensors", ".bin", ".model")
_LEFT = ("onnx", "openvino", "README.md", ".git", ".gitattributes", "data_config.json", "train_script.py")


@dataclass(frozen=True, slots=True)
class Says:
    """What a model's folder says of itself."""

    pooling: str | None = None
    """None: it says nothing; `model`: it is made of layers that sentence-transformers alone knows."""
    normalize: bool = False
    max_length: int | None = None
    """Tokens that a text may have."""
    query_prefix: str = ""
    passage_prefix: str = ""
    modules: tuple[str, ...] = field(default=())


def find(folder: Path) -> Path:
    """The folder of the model in an unpacked archive: the one with a config.json nearest to its top.

    Raises:
        StageFailed: there is none, or there are several.
    """
    if (folder / "config.json").is_file() or (folder / "modules.json").is_file():
        return folder
    found = sorted(
        (path.parent for path in folder.rglob("config.json") if _is_model(path)), key=lambda p: len(p.parts)
    )
    nearest = [path for path in found if len(path.parts) == len(found[0].parts)]
    if len(nearest) == 1:
        return nearest[0]
    if not found:
        raise StageFailed(f"{folder} holds no model: no config.json of one is in it", "correct `member:`")
    names = ", ".join(path.relative_to(folder).as_posix() for path in nearest)
    raise StageFailed(f"{folder} holds several models: {names}", "choose one with `member:`")


def says(folder: Path) -> Says:
    """What the model in `folder` says of its vectors."""
    longest = positions(folder)
    listed = _json(folder / "modules.json", kind=list)
    if not listed:
        return Says(max_length=longest)
    modules = tuple(str(item.get("type", "")).rsplit(".", 1)[-1] for item in listed)
    pooling: str | None = "model"
    if set(modules) <= set(_PLAIN) and modules[:2] == ("Transformer", "Pooling"):
        pooling = _pooling(folder / str(listed[1].get("path") or "1_Pooling"))
    length = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    prompts = _json(folder / "config_sentence_transformers.json").get("prompts")
    prompts = prompts if isinstance(prompts, dict) else {}
    return Says(
        pooling=pooling,
        normalize="Normalize" in modules,
        max_length=length if isinstance(length, int) else longest,
        query_prefix=_first(prompts, _QUERY),
        passage_prefix=_first(prompts, _PASSAGE),
        modules=modules,
    )


def positions(folder: Path) -> int | None:
    """Tokens that the model in `folder` has positions for; None where it does not say."""
    config = _json(folder / "config.json")
    longest = config.get("max_position_embeddings")
    if not isinstance(longest, int):
        return None
    # Of these the positions start at 2.
    return longest - 2 * (config.get("model_type") in ("roberta", "xlm-roberta", "camembert", "mpnet"))


def copy(source: Path, target: Path) -> None:
    """Copy what a model needs to be loaded; other forms of its weights stay behind."""

    def left(folder: str, names: list[str]) -> set[str]:
        safe = any(name.endswith(".safetensors") for name in names)
        other = {n for n in names if safe and n.endswith((".bin", ".h5", ".msgpack", ".ot"))}
        return {*other, *(name for name in names if name in _LEFT or name.startswith("."))}

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=left)


def sha256(folder: Path) -> str:
    """One hash of all that makes a model's vectors: weights, configuration, tokenizer.

    Raises:
        StageFailed: there are no weights.
    """
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (path.suffix in _WEIGHTS or path.suffix in (".json", ".txt"))
        and not set(path.relative_to(folder).parts) & set(_LEFT)
    ]
    if any(path.suffix == ".safetensors" for path in files):
        files = [path for path in files if path.suffix != ".bin"]
    if not any(path.suffix in _WEIGHTS for path in files):
        raise StageFailed(f"{folder} holds no weights", "a model has model.safetensors or pytorch_model.bin")
    return sha256_value({path.relative_to(folder).as_posix(): sha256_file(path) for path in files})


def _pooling(folder: Path) -> str:
    config = _json(folder / "config.json")
    mode = config.get("pooling_mode")
    on = [mode] if mode else [key for key in config if key.startswith("pooling_mode") and config[key] is True]
    return _MODES.get(str(on[0]), "model") if len(on) == 1 else "model"


def _first(prompts: dict[str, Any], names: tuple[str, ...]) -> str:
    return next((str(prompts[name]) for name in names if prompts.get(name)), "")


def _is_model(path: Path) -> bool:
    return "model_type" in _json(path)


def _json(path: Path, kind: type = dict) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        value = None
    return value if isinstance(value, kind) else kind()
