"""Whether a folder holds a whole Hugging Face model or adapter, seen without loading it.

Reads the headers of the safetensors files (a few kilobytes each), not the tensors.
"""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.errors import StageFailed

MODEL_FILE, MODEL_INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_FILE, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "tokenization.py")
MAX_HEADER = 100 << 20
WIDTH = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of a safetensors file."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Its number of values."""
        product = 1
        for length in self.shape:
            product *= length
        return product


def read_header(path: Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file.

    Raises:
        StageFailed: the file is cut off or is no safetensors file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER + 1
            if length > min(MAX_HEADER, size - 8):
                raise StageFailed(f"{path} is cut off or is no safetensors file")
            header = json.loads(stream.read(length))
    except (OSError, ValueError) as error:
        raise StageFailed(f"{path} cannot be read: {error}") from error
    header.pop("__metadata__", None)
    found = {}
    end = 0
    for name, entry in header.items():
        tensor = Tensor(entry["dtype"], tuple(entry["shape"]))
        first, last = entry["data_offsets"]
        width = WIDTH.get(tensor.dtype)
        if width is not None and last - first != tensor.size * width:
            raise StageFailed(f"{path}: the tensor {name} does not have the length of its shape")
        end = max(end, last)
        found[name] = tensor
    if 8 + length + end != size:
        raise StageFailed(f"{path} is cut off: {size:,} bytes of {8 + length + end:,}")
    return found


def read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model, over all its files.

    Raises:
        StageFailed: there are none, or a file of the index is missing or cut off.
    """
    single, index = folder / MODEL_FILE, folder / MODEL_INDEX
    if single.is_file():
        return read_header(single)
    if not index.is_file():
        raise StageFailed(f"{folder} holds no model weights ({MODEL_FILE} is missing)")
    wanted: dict[str, str] = read_json(index)["weight_map"]
    found: dict[str, Tensor] = {}
    for name in sorted(set(wanted.values())):
        found.update(read_header(folder / name))
    missing = sorted(set(wanted) - set(found))
    if missing:
        raise StageFailed(f"{folder}: {len(missing)} tensors of the index are missing, {missing[0]} first")
    return found


def check_model(folder: Path, *, tokenizer: bool = True) -> dict[str, Tensor]:
    """The tensors of a whole model, after its configuration was found to fit them.

    Raises:
        StageFailed: a file is missing or cut off, layers are missing, or shapes contradict config.json.
    """
    config = read_json(folder / "config.json")
    tensors = read_weights(folder)
    shape = config.get("text_config") or config
    layers = {
        int(m[1]) for name in tensors if (m := re.search(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.", name))
    }
    expected = shape.get("num_hidden_layers") or shape.get("n_layer")
    if expected and layers and len(layers) < expected:
        raise StageFailed(f"{folder} holds {len(layers)} of {expected} layers")
    for name, tensor in tensors.items():
        if name.endswith("embed_tokens.weight") and "vision" not in name and shape.get("vocab_size"):
            rows = tensor.shape[0]
            if rows != shape["vocab_size"]:
                raise StageFailed(
                    f"{folder}: {name} has {rows:,} rows and config.json says {shape['vocab_size']:,}"
                )
    if tokenizer:
        check_tokenizer(folder)
    return tensors


def check_adapter(folder: Path, base: str | None = None) -> dict[str, Tensor]:
    """The tensors of a whole adapter.

    Args:
        folder: The adapter's folder.
        base: The base model that it must have been trained on.

    Raises:
        StageFailed: a file is missing or cut off, a LoRA pair is not whole, or the base is another.
    """
    config = read_json(folder / ADAPTER_CONFIG)
    tensors = read_header(folder / ADAPTER_FILE)
    if not tensors:
        raise StageFailed(f"{folder / ADAPTER_FILE} holds no tensor: nothing was trained")
    named = config.get("base_model_name_or_path")
    if base is not None and named != base:
        raise StageFailed(f"{folder}: the adapter belongs to {named}, not to {base}")
    for name, tensor in tensors.items():
        if ".lora_A." not in name:
            continue
        other = tensors.get(name.replace(".lora_A.", ".lora_B."))
        if other is None or other.shape[1] != tensor.shape[0]:
            raise StageFailed(f"{folder}: {name} has no lora_B of the same rank")
    return tensors


def check_tokenizer(folder: Path) -> None:
    """Find the tokenizer.

    Raises:
        StageFailed: there is none, or its file is cut off.
    """
    found = [name for name in TOKENIZERS if (folder / name).is_file()]
    if not found:
        raise StageFailed(f"{folder} holds no tokenizer")
    if found[0].endswith(".json"):
        read_json(folder / found[0])


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        StageFailed: the file is missing, cut off, or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StageFailed(f"{path} is missing") from error
    except (OSError, ValueError) as error:
        raise StageFailed(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise StageFailed(f"{path} holds no JSON object")
    return value
