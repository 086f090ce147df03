"""A verl checkpoint as a Hugging Face model: `python -m …driver.merge ACTOR TARGET [BASE]`.

The shards are merged by verl's own merger. An adapter is merged into its base, so that the result
is always a whole model. The model is then loaded, and asked for one token.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from verl.model_merger.base_model_merger import ModelMergerConfig
from verl.model_merger.fsdp_model_merger import FSDPModelMerger

ADAPTER = "lora_adapter"


def main(actor: str, target: str, base: str | None = None) -> int:
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
    merger = FSDPModelMerger(config)
    merger.merge_and_save()
    merger.cleanup()
    if (folder / ADAPTER).is_dir():
        _merge_adapter(folder, base)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            print(f"error: {name} of the merged model holds values that are not numbers", flush=True)
            return 4
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer("a").input_ids or [0]])
    with torch.no_grad():
        model(ids)
    size = sum(value.numel() for value in model.parameters())
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    (folder / "loaded.json").write_text(json.dumps({"parameters": size, "dtype": dtype}))
    return 0


def _merge_adapter(folder: Path, base: str | None) -> None:
    """The adapter into the base that verl wrote beside it."""
    from peft import PeftModel

    model = AutoModelForCausalLM.from_pretrained(base or folder, dtype="auto")
    whole = PeftModel.from_pretrained(model, folder / ADAPTER).merge_and_unload()
    for old in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        old.unlink()
    whole.save_pretrained(folder)
    shutil.rmtree(folder / ADAPTER)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
