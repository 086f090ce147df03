"""A verl checkpoint as a Hugging Face model: `python -m …driver.merge ACTOR TARGET MODEL`.

The shards are merged by verl's own merger, in the number format of MODEL, which was trained: verl
would round to bfloat16. An adapter is merged into its base, so that the result is always a whole
model. The model is then loaded, and asked for one token.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger

from residency.engines.verl.finish import NO_NUMBERS

ADAPTER = "lora_adapter"
LORA = "lora_train_meta.json"
"""In a checkpoint of an adapter."""


class Merger(FSDPModelMerger):
    """verl's own, which keeps the weights in a number format of our choice."""

    def __init__(self, config: ModelMergerConfig, dtype: torch.dtype):
        super().__init__(config)
        self._dtype = dtype

    def _load_and_merge_state_dicts(self, *args: Any) -> dict[str, torch.Tensor]:
        rounds, dtype = torch.Tensor.bfloat16, self._dtype
        torch.Tensor.bfloat16 = lambda tensor: tensor.to(dtype)
        try:
            return super()._load_and_merge_state_dicts(*args)
        finally:
            torch.Tensor.bfloat16 = rounds


def main(actor: str, target: str, trained: str) -> int:
    """Merge, and say in loaded.json what was loaded."""
    source, folder = Path(actor), Path(target)
    config = ModelMergerConfig(
        operation="merge",
        backend="fsdp",
        local_dir=str(source),
        hf_model_config_path=str(source / "huggingface"),
        target_dir=str(folder),
        trust_remote_code=False,
    )
    dtype = dtype_of(trained)
    merger = Merger(config, torch.float32 if (source / LORA).is_file() else dtype)
    merger.merge_and_save()
    merger.cleanup()
    if (folder / ADAPTER).is_dir():
        _merge_adapter(folder, dtype)
    _name_dtype(folder / "config.json", dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            print(f"{name} of the merged model holds values that are not numbers", flush=True)
            return NO_NUMBERS
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer("a").input_ids or [0]])
    with torch.no_grad():
        model(ids)
    size = sum(value.numel() for value in model.parameters())
    loaded = str(next(model.parameters()).dtype).removeprefix("torch.")
    (folder / "loaded.json").write_text(json.dumps({"parameters": size, "dtype": loaded}))
    return 0


def dtype_of(model: str) -> torch.dtype:
    """The number format of a model's weights; bfloat16 where its configuration does not say."""
    try:
        found = AutoConfig.from_pretrained(model).dtype
    except (OSError, ValueError):  # its configuration wants code of its own, or is gone
        found = None
    return found if isinstance(found, torch.dtype) else torch.bfloat16


def _merge_adapter(folder: Path, dtype: torch.dtype) -> None:
    """The adapter into the base that verl wrote beside it."""
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole = PeftModel.from_pretrained(model, folder / ADAPTER).merge_and_unload().to(dtype)
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        old.unlink()
    whole.save_pretrained(folder)
    shutil.rmtree(folder / ADAPTER)


def _name_dtype(path: Path, dtype: torch.dtype) -> None:
    """verl's merger writes bfloat16 into config.json whatever the weights are."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)
    config["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
