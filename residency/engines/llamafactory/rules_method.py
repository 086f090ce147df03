"""Rules of the stage, the training method, quantization and optimizers."""

from __future__ import annotations

import json
from collections.abc import Callable

from residency.engines.llamafactory.view import View, known, names
from residency.recipe.suggest import closest

LORA_ONLY = ("loraplus_lr_ratio", "use_rslora", "use_dora", "pissa_init")
"""LLaMA-Factory refuses these with another method."""
IGNORED = {
    "lora": ("lora_rank", "lora_alpha", "lora_dropout", "lora_target"),
    "oft": ("oft_rank", "oft_block_size", "oft_target", "module_dropout"),
    "freeze": ("freeze_trainable_layers", "freeze_trainable_modules", "freeze_extra_modules"),
}
"""Method → keys that do nothing with another method."""
MODULES = (
    *(
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        "qkv_proj",
        "gate_up_proj",
    ),
    *(
        "query_key_value",
        "dense",
        "dense_h_to_4h",
        "dense_4h_to_h",
        "c_attn",
        "c_proj",
        "c_fc",
        "w1",
        "w2",
        "w3",
    ),
    *(
        "wqkv",
        "wo",
        "W_pack",
        "fc1",
        "fc2",
        "out_proj",
        "in_proj",
        "embed_tokens",
        "lm_head",
        "x_proj",
        "dt_proj",
    ),
)
"""Names of linear layers in the models that are commonly trained."""
BITS = {"bnb": (4, 8), "hqq": (1, 2, 3, 4, 5, 6, 8), "eetq": (8,)}
METHOD_MODULE = {"bnb": "bitsandbytes", "hqq": "hqq", "eetq": "eetq"}
OPTIMIZERS = ("use_galore", "use_apollo", "use_badam")
PACKAGES = {
    "use_unsloth": ("unsloth",),
    "enable_liger_kernel": ("liger_kernel",),
    "use_galore": ("galore_torch",),
    "use_apollo": ("apollo_torch",),
    "use_badam": ("badam",),
    "use_adam_mini": ("adam_mini",),
    "use_swanlab": ("swanlab",),
    "plot_loss": ("matplotlib",),
    "deepspeed": ("deepspeed",),
}
"""Key → the modules that LLaMA-Factory asks for when it is set."""


def stage(view: View) -> None:
    """PPO does not run with the trl that LLaMA-Factory 0.9.5 is installed with."""
    if view.stage == "ppo":
        view.error(
            "unsupported-stage",
            "`stage: ppo` does not work: LLaMA-Factory wants trl 0.9.6 or older for it",
            view.place("stage"),
            "use `kind: rlvr`, which trains by verl with PPO or GRPO",
        )


def method_keys(view: View) -> None:
    """Keys of one training method beside another."""
    method = view.method
    if method != "lora":
        for key in LORA_ONLY:
            if view.get(key) not in (None, False):
                view.conflict(key, "finetuning_type", f"`{key}` is for LoRA only, and this is `{method}`")
    for owner, keys in IGNORED.items():
        for key in keys:
            if owner != method and key in view:
                words = f"`{key}` does nothing with `finetuning_type: {method}`"
                hint = f"leave it out, or set `finetuning_type: {owner}`"
                view.warn("unused-key", words, view.key(key), hint, beside=("finetuning_type",))
    if view.on("use_llama_pro") and method == "full":
        view.conflict("use_llama_pro", "finetuning_type", "`use_llama_pro` is for `freeze` or `lora`")
    if "adapter_name_or_path" in view and method != "lora":
        message = f"an adapter goes with `finetuning_type: lora` only, and this is `{method}`"
        view.conflict(
            "adapter_name_or_path", "finetuning_type", message, "merge it first, with an `export` stage"
        )


def lora_target(view: View) -> None:
    """Names of layers that are nearly those of a common model."""
    if view.method != "lora":
        return
    for name, where in names(view.block.get("lora_target")):
        if name in ("all-linear", "all_linear"):
            view.error("wrong-form", f"`lora_target` knows no `{name}`", where, "write `lora_target: all`")
        elif name != "all" and name.rsplit(".", 1)[-1] not in MODULES and (near := closest(name, MODULES)):
            message = f"few models have a layer called `{name}`"
            view.warn("unusual-value", message, where, f"did you mean `{near[0]}`?")


def quantization(view: View) -> None:
    """What goes with weights in 4 or 8 bits."""
    key, bits = "quantization_bit", view.number("quantization_bit")
    if bits is None:
        return
    if view.method not in ("lora", "oft"):
        message = f"quantized weights cannot be trained with `finetuning_type: {view.method}`"
        view.conflict(
            key, "finetuning_type", message, "use `finetuning_type: lora`, or leave out `quantization_bit`"
        )
        return
    how = str(view.get("quantization_method"))
    if how in BITS and bits not in BITS[how]:
        allowed = ", ".join(map(str, BITS[how]))
        view.error("out-of-range", f"`{how}` quantizes to {allowed} bits, not {bits:g}", view.place(key))
        return
    for other, why in (
        ("pissa_init", "PiSSA cannot start from quantized weights"),
        ("resize_vocab", "the embeddings of a quantized model cannot be resized"),
        ("fp8", "FP8 training does not go with quantized weights"),
    ):
        if view.on(other):
            view.conflict(other, key, why)
    adapters = names(view.block.get("adapter_name_or_path"))
    if len(adapters) > 1:
        view.conflict("adapter_name_or_path", key, "a quantized model takes one adapter", "merge them first")
    if adapters and view.on("create_new_adapter"):
        view.conflict("create_new_adapter", key, "no new adapter can be made upon a quantized model with one")
    if view.get("quantization_device_map") == "auto":
        view.conflict("quantization_device_map", key, "`quantization_device_map: auto` is not for training")
    if how in METHOD_MODULE:
        view.needs_package(key, METHOD_MODULE[how])


def optimizers(view: View) -> None:
    """GaLore, APOLLO and BAdam exclude each other, LoRA and DeepSpeed."""
    used = [key for key in OPTIMIZERS if view.on(key)]
    if len(used) > 1:
        view.conflict(used[1], used[0], f"`{used[1]}` and `{used[0]}` exclude each other")
    if used and view.method == "lora":
        view.conflict(
            used[0], "finetuning_type", f"`{used[0]}` does not go with LoRA", "use `finetuning_type: full`"
        )
    if used and used[0] != "use_badam" and "deepspeed" in view:
        view.conflict(used[0], "deepspeed", f"`{used[0]}` does not go with DeepSpeed")


def preferences(view: View) -> None:
    """Keys of DPO."""
    smoothing = view.number("dpo_label_smoothing") or 0
    if view.stage == "dpo" and view.get("pref_loss") != "sigmoid" and smoothing > 1e-6:
        message = "`dpo_label_smoothing` goes with `pref_loss: sigmoid` only"
        view.conflict("dpo_label_smoothing", "pref_loss", message)
    reference = view.stage == "dpo" and view.get("pref_loss") not in ("orpo", "simpo")
    if view.on("pissa_init") and view.method == "lora" and (view.stage == "kto" or reference):
        view.conflict("pissa_init", "stage", f"PiSSA does not go with `stage: {view.stage}`")
    if not (view.stage == "kto" or reference) or view.method != "lora" or "ref_model" in view:
        return
    adapters = names(view.block.get("adapter_name_or_path"))
    if adapters and not view.on("create_new_adapter"):
        view.warn(
            "unusual-value",
            "the adapter is trained further, but held against the base model without it",
            view.place("adapter_name_or_path"),
            "name the model under `ref_model` and the adapter under `ref_model_adapters`, "
            "or set `create_new_adapter: true`",
        )


def reward_model(view: View) -> None:
    """A whole reward model whose output and embeddings are one tensor cannot be saved.

    LLaMA-Factory 0.9.5 hands the trainer a wrapped model, whose tensors transformers 5 writes as
    they are, and safetensors refuses shared ones; it fails at the first checkpoint.
    """
    value = view.get("model_name_or_path")
    if view.stage != "rm" or view.method not in ("full", "freeze") or not known(value):
        return
    path = view.find(value)
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError):
        return
    if isinstance(config, dict) and config.get("tie_word_embeddings"):
        view.error(
            "unsupported-stage",
            f"`finetuning_type: {view.method}` cannot save a reward model of this model: its output and its "
            "embeddings are one tensor",
            view.place("finetuning_type"),
            "use `finetuning_type: lora`, or a model whose embeddings are not tied",
            ("model_name_or_path",),
        )


def packages(view: View) -> None:
    """Packages that a key needs."""
    for key, modules in PACKAGES.items():
        if view.on(key) or (key == "deepspeed" and key in view):
            view.needs_package(key, *modules)
    if view.get("flash_attn") == "fa2" and not view.on_cpu:
        view.needs_package("flash_attn", "flash_attn")


RULES: tuple[Callable[[View], None], ...] = (
    stage,
    method_keys,
    lora_target,
    quantization,
    optimizers,
    preferences,
    reward_model,
    packages,
)
