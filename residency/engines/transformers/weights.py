"""A model as an ordinary checkpoint: copied, brought to another type, or with an adapter merged in."""

from __future__ import annotations

import fnmatch
import json
import shutil
from pathlib import Path
from typing import Any

from residency.engines import hf_folder
from residency.errors import Missing, StageFailed
from residency.machine import memory

KEPT = (
    "*.json", "*.safetensors", "*.jinja", "*.model", "*.txt", "*.py", "LICENSE*", "LICENCE*", "NOTICE*",
    "USE_POLICY*",
)  # fmt: skip
LEFT = (
    "consolidated*",
    "trainer_state.json",
    "*_results.json",
    "adapter_*",
    "training_*",
    "dataset_info.json",
)
NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}


def locate(name: str) -> Path:
    """The folder of a model: a local one, or a hub model fetched into the hub's cache.

    Raises:
        Missing: it is neither.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.is_absolute():
        raise Missing(f"the model {name} is not there")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=[*KEPT, "*.bin"]))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise Missing(
            f"the model {name} cannot be fetched: {str(error).splitlines()[0]}",
            "give the path of a local folder, or for a gated model env: {HF_TOKEN: ${secret:HF_TOKEN}}",
        ) from error


def copy(source: Path, folder: Path, dtype: str) -> str:
    """Write the model in `source` into `folder`; returns what was done, `copy` or `convert`.

    Files are copied as they are when they hold safetensors of the wanted type already.
    """
    if _ready(source, dtype):
        for path in sorted(source.iterdir()):
            if path.is_file() and _kept(path.name):
                shutil.copy2(path, folder / path.name)
        return "copy"
    model = load(source, dtype)
    model.save_pretrained(folder)
    _tokenizer(source).save_pretrained(folder)
    return "convert"


def merge(base: Path, adapter: Path, folder: Path, dtype: str) -> list[str]:
    """Write `base` with `adapter` merged into its weights; returns warnings.

    The sum is taken in float32 and rounded once, where the machine's memory allows.

    Raises:
        StageFailed: the adapter does not fit the base.
    """
    import torch
    from peft import PeftModel

    warnings = []
    hf_folder.check_adapter(adapter)
    final = _own_dtype(base) if dtype == "auto" else dtype
    found = memory()
    room = found.free if found else None
    wide = room is None or 4.5 * _values(base) < room
    if not wide:
        warnings.append(f"too little memory to merge in float32; merged in {final}")
    model: Any = load(base, "float32" if wide else final)
    tokenizer = _tokenizer(adapter if (adapter / "tokenizer_config.json").is_file() else base)
    if len(tokenizer) > model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(len(tokenizer))  # tokens were added in training
    try:
        tuned = PeftModel.from_pretrained(model, str(adapter))
    except (RuntimeError, ValueError) as error:
        raise StageFailed(
            f"the adapter {adapter} does not fit the model {base}: {str(error).splitlines()[0]}",
            "merge it into the model that it was trained on",
        ) from error
    changed = any(
        bool(torch.any(value != 0)) for name, value in tuned.named_parameters() if ".lora_B." in name
    )
    if not changed and any(".lora_B." in name for name, _ in tuned.named_parameters()):
        warnings.append("the adapter changes nothing: it was not trained")
    merged = tuned.merge_and_unload(safe_merge=True)
    merged = merged.to(getattr(torch, final))
    merged.config.dtype = getattr(torch, final)
    _add_end(merged, tokenizer)
    merged.save_pretrained(folder)
    tokenizer.padding_side = "left"  # training pads on the right; generation needs the left
    tokenizer.save_pretrained(folder)
    for path in base.iterdir():
        if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")):
            shutil.copy2(path, folder / path.name)
    return warnings


def load(folder: Path, dtype: str) -> Any:
    """The model in `folder`.

    Raises:
        StageFailed: it is quantised, or not a language model that transformers knows.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if "quantization_config" in hf_folder.read_json(folder / "config.json"):
        raise StageFailed(
            f"{folder} holds quantised weights, which cannot be converted or merged into",
            "take the model that it was quantised from",
        )
    target = "auto" if dtype == "auto" else getattr(torch, dtype)
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=target)
    except (ValueError, KeyError, OSError) as error:
        raise StageFailed(f"transformers cannot load {folder}: {str(error).splitlines()[0]}") from error


def _ready(source: Path, dtype: str) -> bool:
    try:
        tensors = hf_folder.read_weights(source)
    except StageFailed:
        return False
    return dtype == "auto" or all(tensor.dtype == NAMES[dtype] for tensor in tensors.values())


def _kept(name: str) -> bool:
    return any(fnmatch.fnmatch(name, p) for p in KEPT) and not any(fnmatch.fnmatch(name, p) for p in LEFT)


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def _add_end(model: Any, tokenizer: Any) -> None:
    """Let generation end where training did: at the tokenizer's end token too."""
    given = model.generation_config.eos_token_id
    ends = [given] if isinstance(given, int) else list(given or [])
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends.append(tokenizer.eos_token_id)
    model.generation_config.eos_token_id = ends[0] if len(ends) == 1 else (ends or None)
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id


def _own_dtype(folder: Path) -> str:
    config = hf_folder.read_json(folder / "config.json")
    named = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return named if named in NAMES else "float32"


def _values(folder: Path) -> int:
    try:
        return sum(tensor.size for tensor in hf_folder.read_weights(folder).values())
    except StageFailed:
        return 0


def tidy(folder: Path) -> None:
    """Make the written files readable everywhere.

    transformers 5 names its tokenizer class `TokenizersBackend`, which versions before 5 do not
    know; both know `PreTrainedTokenizerFast` for the same thing. safetensors files are written
    for their owner alone.
    """
    path = folder / "tokenizer_config.json"
    if path.is_file():
        config = hf_folder.read_json(path)
        config.pop("is_local", None)
        if config.get("tokenizer_class") == "TokenizersBackend":
            config["tokenizer_class"] = "PreTrainedTokenizerFast"
            path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    mode = (folder / "config.json").stat().st_mode & 0o777
    for file in folder.iterdir():
        file.chmod(mode)
