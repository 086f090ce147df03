"""Rules of the rollout engine: which one, how many GPUs it shares, how it samples."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

from residency.engines.verl import hardware
from residency.engines.verl.rules.view import ROLLOUT, View
from residency.recipe.suggest import closest

ENGINES = {"vllm": "vllm", "sglang": "sglang", "trtllm": "tensorrt_llm"}
"""verl's rollout engines → the distribution that each needs."""
NAME = f"{ROLLOUT}.name"
TENSOR = f"{ROLLOUT}.tensor_model_parallel_size"


def engine(view: View) -> None:
    """The engine is one of verl's, and is installed where it is to run."""
    name = view.text(NAME)
    if view.on_cpu:
        return  # the launcher brings its own
    if name is None and NAME not in view.keys:
        view.error(
            "missing-key",
            f"`{NAME}` is missing: the engine that generates answers",
            view.key(NAME),
            f"add `{NAME}: vllm` (or sglang)",
        )
    if name is None or NAME not in view:
        return
    from residency.engines.verl import moved

    if name in moved.MEANT[NAME] or name == view.forced.get(NAME):
        return
    if name == "hf":
        view.error(
            "not-a-choice",
            "verl has no `hf` rollout any more",
            view.place(NAME),
            "use `vllm` or `sglang`; with `hardware: cpu` the launcher brings its own",
        )
    elif name == hardware.ROLLOUT:
        return  # ours; slower than the others, and nothing to install
    elif name not in ENGINES:
        known = (*ENGINES, hardware.ROLLOUT)
        near = closest(name, known)
        hint = f"did you mean `{near[0]}`?" if near else "choose from " + ", ".join(known)
        view.error("not-a-choice", f"there is no rollout engine `{name}`", view.place(NAME), hint)
    elif view.context.gpus > 0 and not _installed(ENGINES[name]):
        view.error(
            "missing-package",
            f"the rollout engine `{name}` is not installed",
            view.place(NAME),
            f'pip install "verl[{name}]=={_version()}"',
        )


def _installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _version() -> str:
    try:
        return importlib.metadata.version("verl")
    except importlib.metadata.PackageNotFoundError:
        return "0.9.1"


def parallel(view: View) -> None:
    """The GPUs of one engine divide all GPUs."""
    if view.on_cpu:
        return
    sizes = [
        view.count(name) or 1
        for name in (
            TENSOR,
            f"{ROLLOUT}.data_parallel_size",
            f"{ROLLOUT}.pipeline_model_parallel_size",
        )
    ]
    tensor, data, pipeline = sizes
    whole = tensor * data * pipeline
    separate = view.get("trainer.v1.trainer_mode") == "separate_async"
    ranks = view.ranks
    if separate:
        ranks = (view.count(f"{ROLLOUT}.nnodes") or 1) * (view.count(f"{ROLLOUT}.n_gpus_per_node") or 1)
    if ranks % whole:
        given = "" if TENSOR in view else ", verl's default,"
        words = f"`{TENSOR}` ({tensor}){given} does not divide {ranks} GPU{'s' if ranks > 1 else ''}"
        if whole != tensor:
            words = f"an engine of {tensor} × {data} × {pipeline} GPUs does not divide {ranks} GPUs"
        view.error(
            "batch-mismatch",
            words,
            view.place(view.at_first(TENSOR, f"{ROLLOUT}.data_parallel_size", "trainer.n_gpus_per_node")),
            f"set `{TENSOR}: {_divisor(ranks, tensor)}`",
            ("trainer.n_gpus_per_node",),
        )
    if pipeline > 1:
        view.error(
            "not-a-choice",
            "verl's rollout engines cannot be split by layers (`pipeline_model_parallel_size`)",
            view.place(f"{ROLLOUT}.pipeline_model_parallel_size"),
            f"use `{TENSOR}`",
        )
    expert = view.count(f"{ROLLOUT}.expert_parallel_size") or 1
    if expert > 1 and view.get(NAME) != "trtllm" and expert != tensor * data:
        view.error(
            "conflicting-keys",
            f"`expert_parallel_size` ({expert}) must be `tensor_model_parallel_size` ({tensor}) × "
            f"`data_parallel_size` ({data})",
            view.place(f"{ROLLOUT}.expert_parallel_size"),
            f"set it to {tensor * data}",
            (TENSOR,),
        )


def _divisor(whole: int, wanted: int) -> int:
    return next(size for size in range(min(wanted, whole), 0, -1) if whole % size == 0)


def gpus(view: View) -> None:
    """verl's GPUs and the recipe's are the same."""
    asked, name = view.asked_gpus, "trainer.n_gpus_per_node"
    own, nodes = view.count(name), view.count("trainer.nnodes") or 1
    if view.own("hardware") == "cpu" and asked:
        entry = view.own_key("resources")
        view.found.add(
            "conflicting-keys",
            f"`hardware: cpu` with `resources: {{gpus: {asked}}}`",
            entry,
            hint="leave one of them out",
            notes=[("`hardware` stands here", view.own_key("hardware"))],
        )
        return
    if view.own("hardware") == "gpu" and asked == 0:
        view.found.add(
            "conflicting-keys",
            "`hardware: gpu` with `resources: {gpus: 0}`",
            view.own_key("resources"),
            hint="leave one of them out",
            notes=[("`hardware` stands here", view.own_key("hardware"))],
        )
        return
    if asked is None or name not in view or own is None or nodes > 1 or view.on_cpu:
        return
    if own > asked:
        view.error(
            "conflicting-keys",
            f"`{name}` is {own}, and `resources.gpus` gives the stage {asked}",
            view.place(name),
            f"set `resources: {{gpus: {own}}}`, or leave out `{name}`",
        )
    elif own < asked:
        view.warn(
            "unusual-value",
            f"`{name}` is {own}: {asked - own} of the stage's {asked} GPUs would be idle",
            view.place(name),
            f"leave out `{name}`, or set `resources: {{gpus: {own}}}`",
        )


def sampling(view: View) -> None:
    """Rollouts are sampled, and validation is as it says."""
    temperature = view.number(f"{ROLLOUT}.temperature")
    own = f"{ROLLOUT}.val_kwargs"
    if temperature == 0:
        view.error(
            "out-of-range",
            "`rollout.temperature: 0` makes every answer to a question the same, and divides log-probs by 0",
            view.place(f"{ROLLOUT}.temperature"),
            "1.0 is usual; `rollout.val_kwargs.temperature` is for validation",
        )
    if view.get(f"{ROLLOUT}.do_sample") is False:
        view.error(
            "out-of-range",
            "`rollout.do_sample: false` makes every answer to a question the same",
            view.place(f"{ROLLOUT}.do_sample"),
            "leave it out; `rollout.val_kwargs.do_sample` is for validation",
        )
    if view.on(f"{own}.do_sample") and view.number(f"{own}.temperature") == 0:
        given = "" if f"{own}.temperature" in view else ", the default"
        view.warn(
            "unusual-value",
            f"validation samples at temperature 0{given}: it is greedy",
            view.place(f"{own}.do_sample"),
            f"set `{own}.temperature: 1.0`",
        )
    repeats = view.count(f"{own}.n") or 1
    if repeats > 1 and view.get(f"{own}.do_sample") is False:
        view.warn(
            "unusual-value",
            f"validation asks each question {repeats} times, and answers without sampling: all are the same",
            view.place(f"{own}.n"),
            f"set `{own}.do_sample: true` and `{own}.temperature: 1.0`",
        )


RULES: tuple[Callable[[View], None], ...] = (engine, parallel, gpus, sampling)
