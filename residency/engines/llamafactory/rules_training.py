"""Rules of precision, devices, steps, saving and logging."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.llamafactory.view import View, installed, names
from residency.recipe.suggest import closest

REPORTS = {
    "azure_ml": "azureml",
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet_ml",
    "dagshub": "dagshub",
    "dvclive": "dvclive",
    "flyte": "flytekit",
    "kubeflow": "",
    "mlflow": "mlflow",
    "neptune": "neptune",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""What transformers can report to → the module that it needs."""


def precision(view: View) -> None:
    """bf16 and fp16: one of them, and what each needs of the machine."""
    for a, b in (("fp16", "bf16"), ("fp16_full_eval", "bf16_full_eval")):
        if view.on(a) and view.on(b):
            view.conflict(
                a, b, f"`{a}` and `{b}` exclude each other", "keep `bf16` on recent GPUs and on a CPU"
            )
            return
    if not view.on_cpu:
        return
    for key in ("fp16", "fp8", "pure_bf16", "tf32"):
        if view.on(key):
            hint = "use `bf16: true` with `use_cpu: true`, or leave it out"
            view.error("needs-gpu", f"`{key}` needs a GPU, and this would run on a CPU", view.key(key), hint)
    if view.asked_gpus == 0:
        return  # the launcher sets `use_cpu` itself
    for key in ("bf16", "bf16_full_eval"):
        if view.on(key) and not view.on("use_cpu"):
            message = f"`{key}` without a GPU needs `use_cpu: true`"
            gpus = "--set resources.gpus=…" if view.recipe.plain_llamafactory else "`resources: {gpus: …}`"
            hint = f"add `use_cpu: true`, or ask for GPUs with {gpus}"
            view.error("needs-use-cpu", message, view.key(key), hint)
            return


def steps(view: View) -> None:
    """How long, and how steps are counted."""
    steps = view.number("max_steps") or -1
    if steps > 0 and "num_train_epochs" in view:
        message = f"`num_train_epochs` does nothing beside `max_steps: {steps:g}`"
        view.warn(
            "unused-key", message, view.key("num_train_epochs"), "leave one of them out", ("max_steps",)
        )
    if "warmup_ratio" in view and "warmup_steps" in view:
        message = "`warmup_steps` does nothing beside `warmup_ratio`"
        view.warn("unused-key", message, view.key("warmup_steps"), "leave one of them out", ("warmup_ratio",))
    for key, strategy in (
        ("logging_steps", "logging_strategy"),
        ("eval_steps", "eval_strategy"),
        ("save_steps", "save_strategy"),
    ):
        value = view.number(key)
        if value is not None and value > 1 and value != int(value) and view.get(strategy) == "steps":
            message = f"`{key}` above 1 must be a whole number, not {value:g}"
            view.error("wrong-type", message, view.place(key), "below 1 it is a share of all steps")
        if key in view and key in view.block.entries and strategy in view:
            other = view.get(strategy)
            if other in ("no", "epoch"):
                message = f"`{key}` does nothing with `{strategy}: {other}`"
                view.warn("unused-key", message, view.key(key), f"set `{strategy}: steps`", (strategy,))
    warmup = view.number("warmup_steps") or 0
    if steps > 0 and "warmup_ratio" not in view and warmup > steps:
        message = f"`warmup_steps: {warmup:g}` is longer than the training (`max_steps: {steps:g}`)"
        view.warn("unusual-value", message, view.place("warmup_steps"), None, ("max_steps",))


def loading(view: View) -> None:
    """How data are streamed, mixed and packed."""
    streaming = view.on("streaming")
    if streaming and (view.number("max_steps") or -1) <= 0:
        message = "`streaming` needs `max_steps`, since the number of rows is not known"
        view.error("missing-key", message, view.key("streaming"), "add `max_steps: …`")
    if streaming and "max_samples" in view:
        view.conflict("max_samples", "streaming", "`max_samples` does not go with `streaming`")
    if streaming and 1e-6 < (view.number("val_size") or 0) < 1:
        message = "with `streaming`, `val_size` must be a number of rows"
        view.conflict("val_size", "streaming", message, "write a whole number")
    probabilities = view.block.get("interleave_probs")
    if "interleave_probs" in view:
        if view.get("mix_strategy") == "concat":
            message = "`interleave_probs` needs a `mix_strategy` that interleaves"
            view.conflict("interleave_probs", "mix_strategy", message, "set `mix_strategy: interleave_under`")
        shares = view.get("interleave_probs")
        count = len(shares) if isinstance(shares, list) else len(names(probabilities))
        sets = names(view.recipe.tree.get("dataset")) or names(view.block.get("dataset"))
        if sets and count != len(sets):
            message = f"`interleave_probs` has {count} entries for {len(sets)} datasets"
            view.error("conflicting-keys", message, view.place("interleave_probs"), "give one a dataset")
    if view.on("neat_packing") and view.get("packing") is False:
        message = "`neat_packing` turns packing on, and `packing` is false"
        view.warn("unused-key", message, view.key("packing"), "leave `packing` out", ("neat_packing",))
    if "dataloader_prefetch_factor" in view and not view.number("dataloader_num_workers"):
        message = "`dataloader_prefetch_factor` needs `dataloader_num_workers` of at least 1"
        view.conflict("dataloader_prefetch_factor", "dataloader_num_workers", message)


def sft_only(view: View) -> None:
    """Keys that only supervised fine-tuning takes."""
    if view.stage == "sft":
        if view.on("do_predict") and not view.on("predict_with_generate"):
            message = "`do_predict` needs `predict_with_generate: true`"
            view.conflict("do_predict", "predict_with_generate", message)
    elif view.stage in ("pt", "rm", "dpo", "kto"):
        for key in ("predict_with_generate", "neat_packing", "train_on_prompt", "mask_history"):
            if view.on(key):
                view.conflict(
                    key, "stage", f"`{key}` goes with `stage: sft` only, and this is `{view.stage}`"
                )
    if view.on("mask_history") and view.on("train_on_prompt"):
        view.conflict(
            "mask_history", "train_on_prompt", "`mask_history` and `train_on_prompt` exclude each other"
        )


def reports(view: View) -> None:
    """Where figures are reported to."""
    for name, where in names(view.block.get("report_to")):
        if name in ("all", "none"):
            continue
        if name not in REPORTS:
            near = closest(name, REPORTS)
            hint = f"did you mean `{near[0]}`?" if near else "known: none, all, " + ", ".join(REPORTS)
            view.error("not-a-choice", f"`report_to` cannot be `{name}`", where, hint)
        elif REPORTS[name] and not installed(REPORTS[name]):
            package = REPORTS[name].replace("_", "-")
            message = f"reporting to {name} needs `{REPORTS[name]}`, which is not installed"
            view.error("missing-package", message, where, f"pip install {package}, or set `report_to: none`")


RULES: tuple[Callable[[View], None], ...] = (precision, steps, loading, sft_only, reports)
