"""Rules of the models: folders that must be there, the chat template, LoRA."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from residency.engines.places import beside
from residency.engines.verl import hardware, models
from residency.engines.verl.rules.view import ACTOR, MODEL, ROLLOUT, View
from residency.recipe.nodes import Scalar

VLLM_LORA = 512
"""The highest LoRA rank that vLLM serves."""
_HUB = re.compile(r"^[\w.-]+(/[\w.-]+)?$")


def path(view: View) -> None:
    """The actor's model is named, and models on this disk are there."""
    name = f"{MODEL}.path"
    if name not in view and name not in view.keys and name not in view.filled:
        view.error(
            "missing-key",
            f"`{name}` is missing: the model to train",
            view.key(name),
            f"add `{name}: …`: a folder, an output of another stage, or a name on the hub",
        )
    for key in (name, "critic.model.path"):
        _model(view, key)


def _model(view: View, name: str) -> None:
    value = view.text(name)
    if value is None or name not in view:
        return
    where, folder = view.place(name), view.find(value)
    hint: str | None = None
    if folder is None:
        if looks_like_path(view, value):
            hint = beside(value, view.roots) or "a name on the hub is written org/name"
            view.error("model-missing", f"the model folder {value} is not there", where, hint)
        return
    if folder.is_file():
        hint = "convert it first with an `export` stage (`source:`)" if folder.suffix == ".gguf" else None
        if hint or looks_like_path(view, value):
            view.error("model-missing", f"{value} is a file, not a folder with a model", where, hint)
        return
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            hint = f"it is an adapter: name its base model here, and it under `{MODEL}.lora_adapter_path`"
        else:
            hint = _checkpoint(folder, value)
        if hint or looks_like_path(view, value):
            view.error("model-missing", f"{value} holds no config.json", where, hint)
        return
    if name == f"{MODEL}.path":
        _template(view, name, folder)


def _checkpoint(folder: Path, value: str) -> str | None:
    """The hint for a folder of checkpoints."""
    steps = sorted(folder.glob("global_step_*"), key=lambda p: (len(p.name), p.name))
    steps += sorted(folder.glob("checkpoint-*"), key=lambda p: (len(p.name), p.name))
    if not steps:
        return None
    return f"it holds checkpoints, {steps[-1].name} the latest; a model is a folder with config.json"


def _template(view: View, name: str, folder: Path) -> None:
    """Prompts are written by the tokenizer's chat template."""
    other = view.text(f"{MODEL}.tokenizer_path")
    if other is not None:
        found = view.find(other)
        if found is None:
            return
        folder = found
    if view.get(f"{MODEL}.custom_chat_template") or not models.has_tokenizer(folder):
        return
    if not models.has_chat_template(folder):
        view.error(
            "no-chat-template",
            "the model's tokenizer has no chat template, and prompts are written by one",
            view.place(name),
            f"take an instruct model, or give `{MODEL}.custom_chat_template`",
        )


def architecture(view: View) -> None:
    """verl wants config.json to name one architecture."""
    value = view.text(f"{MODEL}.path")
    folder = view.find(value) if value is not None and f"{MODEL}.path" in view else None
    config = models.config(folder) if folder is not None else {}
    named = config.get("architectures")
    if config and (not isinstance(named, list) or len(named) != 1):
        view.error(
            "model-missing",
            "the model's config.json must name one architecture, which tells verl how to load it",
            view.place(f"{MODEL}.path"),
            'add `"architectures": ["LlamaForCausalLM"]`, or what the model is',
        )


def looks_like_path(view: View, value: str) -> bool:
    """True for `./x`, `~/x`, `/x`, more than one slash, or a first part that is a folder here."""
    if value.startswith(("/", "./", "../", "~")) or value in (".", "..") or not _HUB.match(value):
        return True
    first, slash, _ = value.partition("/")
    return bool(slash) and any((root / first).is_dir() for root in view.roots)


def lora(view: View) -> None:
    """LoRA is on by its rank; Megatron's keys do nothing with FSDP."""
    rank = view.number(f"{MODEL}.lora_rank") or 0
    adapter = f"{MODEL}.lora_adapter_path"
    given = view.text(adapter)
    if adapter in view and given is not None:
        folder = view.find(given)
        if folder is None and looks_like_path(view, given):
            hint = beside(given, view.roots)
            view.error("model-missing", f"the adapter folder {given} is not there", view.place(adapter), hint)
        elif folder is not None and not (folder / "adapter_config.json").is_file():
            view.error("model-missing", f"{given} holds no adapter_config.json", view.place(adapter))
        if rank <= 0:
            view.error(
                "missing-key",
                f"an adapter is trained on with `{MODEL}.lora_rank` alone, which is 0",
                view.place(adapter),
                f"set `{MODEL}.lora_rank` to the adapter's rank",
            )
    elif rank <= 0:
        for key in ("lora_alpha", "target_modules", "exclude_modules"):
            if f"{MODEL}.{key}" in view:
                view.warn(
                    "unused-key",
                    f"`{MODEL}.{key}` has no effect: `lora_rank` is 0, and the whole model is trained",
                    view.key(f"{MODEL}.{key}"),
                    f"set `{MODEL}.lora_rank: 16`, or leave it out",
                )
                break
    for key in ("rank", "alpha", "dropout", "target_modules"):
        name = f"{MODEL}.lora.{key}"
        if name in view:
            other = {"rank": "lora_rank", "alpha": "lora_alpha", "target_modules": "target_modules"}.get(key)
            hint = f"set `{MODEL}.{other}`" if other else "leave it out"
            view.error("conflicting-keys", f"`{name}` is for Megatron, not for FSDP", view.key(name), hint)
    if rank > VLLM_LORA and view.get(f"{ROLLOUT}.name") == "vllm" and not view.on(f"{MODEL}.lora.merge"):
        view.error(
            "out-of-range",
            f"vLLM serves adapters of rank {VLLM_LORA} at most, not {rank:g}",
            view.place(f"{MODEL}.lora_rank"),
            f"set `{MODEL}.lora.merge: true`, or a lower rank",
        )
    learning = view.number(f"{ACTOR}.optim.lr")
    if rank > 0 and learning is not None and learning < 5e-6 and f"{ACTOR}.optim.lr" not in view:
        node = view.keys[f"{MODEL}.lora_rank"].node if f"{MODEL}.lora_rank" in view.keys else None
        if isinstance(node, Scalar):
            view.warn(
                "unusual-value",
                f"LoRA learns slowly at verl's default learning rate of {learning:g}",
                node,
                f"set `{ACTOR}.optim.lr: 1e-5` or more",
            )


def _packing(view: View) -> str:
    """How rows come to be packed."""
    if not view.on_cpu and hardware.lacks_flash_attention():
        return "install the package that packs rows: `.venv/bin/pip install flash-attn`"
    return f"set `{MODEL}.use_remove_padding: true`"


def sequence_parallel(view: View) -> None:
    """Ranks that share a sequence need packed rows, and must divide the ranks."""
    for name in (
        f"{ACTOR}.ulysses_sequence_parallel_size",
        f"{ACTOR}.fsdp_config.ulysses_sequence_parallel_size",
    ):
        size = view.count(name) or 1
        if size == 1:
            continue
        if not view.on(f"{MODEL}.use_remove_padding"):
            view.error(
                "conflicting-keys",
                f"`{name}` ({size}) needs `{MODEL}.use_remove_padding`",
                view.place(name),
                _packing(view),
                (f"{MODEL}.use_remove_padding",),
            )
        if view.ranks % size:
            view.error(
                "batch-mismatch",
                f"{view.ranks} GPUs cannot be shared out to sequences by {size}",
                view.place(name),
                f"make `{name}` a divisor of {view.ranks}",
                ("trainer.n_gpus_per_node",),
            )
    shard = view.number(f"{ACTOR}.fsdp_config.fsdp_size")
    if shard is not None and 0 < shard < view.ranks and view.ranks % shard:
        view.error(
            "batch-mismatch",
            f"`{ACTOR}.fsdp_config.fsdp_size` ({shard:g}) does not divide {view.ranks} GPUs",
            view.place(f"{ACTOR}.fsdp_config.fsdp_size"),
            "-1 shards over all",
            ("trainer.n_gpus_per_node",),
        )


RULES: tuple[Callable[[View], None], ...] = (path, architecture, lora, sequence_parallel)
