"""Rules of DeepSpeed: its configuration is there, is sound, and does not contradict the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from residency.engines.llamafactory.view import View, known
from residency.recipe import json_reader
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping, Node, Scalar, Span, at, key_span, plain, walk
from residency.recipe.nodes import Path as NodePath
from residency.recipe.suggest import closest

FOLDER = Path(__file__).parent / "deepspeed"
"""The configurations that a recipe may call by name."""
MATCHED = {
    "train_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "gradient_clipping": "max_grad_norm",
    "optimizer.params.lr": "learning_rate",
    "optimizer.params.eps": "adam_epsilon",
    "optimizer.params.weight_decay": "weight_decay",
    "scheduler.params.warmup_max_lr": "learning_rate",
}
"""DeepSpeed's key → the trainer's: transformers refuses them when they differ."""
AUTO = {
    *MATCHED,
    "train_batch_size",
    "optimizer.params.betas",
    "scheduler.params.warmup_min_lr",
    "scheduler.params.warmup_num_steps",
    "scheduler.params.total_num_steps",
    "fp16.enabled",
    "bf16.enabled",
    "zero_optimization.reduce_bucket_size",
    "zero_optimization.stage3_prefetch_bucket_size",
    "zero_optimization.stage3_param_persistence_threshold",
    "tensor_parallel.autotp_size",
}
"""The keys for which transformers puts a value in place of "auto"; elsewhere DeepSpeed fails on it."""
NOT_WITH_ZERO3 = ("predict_with_generate", "pissa_init", "pure_bf16", "use_unsloth", "use_kt")


def names() -> list[str]:
    """The configurations that a recipe may call by name: `zero2`, `zero3_offload`."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def check(view: View) -> None:
    """The configuration that `deepspeed:` names, or is."""
    node = view.block.get("deepspeed")
    if node is None or plain(node) is None:
        return
    if isinstance(node, Mapping):
        _check_content(view, node)
    elif isinstance(node, Scalar) and known(node.value):
        content = _read(view, node)
        if content is not None:
            _check_content(view, content)


def _read(view: View, node: Scalar) -> Mapping | None:
    value = str(node.value)
    path = FOLDER / f"{value}.json" if value in names() else view.find(value)
    if path is None or path.is_dir():
        folder = (view.roots[0] / value).parent
        options = [*names(), *(str(Path(value).with_name(p.name)) for p in folder.glob("*.json"))]
        near = closest(value, options)
        hint = f"did you mean `{near[0]}`?" if near else "by name there are " + ", ".join(names())
        view.error("missing-file", f"the DeepSpeed configuration {value} is not there", node, hint)
        return None
    inside = Diagnostics()
    tree = json_reader.read(path, inside, name=json_reader.shown(path, view.context.cwd))
    problem = next(iter(inside), None)
    if problem is not None and not inside.ok:
        view.found.sources.update(inside.sources)
        message = f"{problem.span.file}, line {problem.span.line}: {problem.message}"
        view.found.add("bad-deepspeed", message, node, hint=problem.hint, notes=[("here", problem.span)])
        return None
    if not isinstance(tree, Mapping):
        view.error("bad-deepspeed", f"{value} must hold an object: {{…}}", node)
        return None
    view.found.sources.update(inside.sources)
    return tree


def _check_content(view: View, content: Mapping) -> None:
    if not isinstance(content.get("zero_optimization"), Mapping):
        hint = 'add `"zero_optimization": {"stage": 2}`'
        view.error(
            "bad-deepspeed", "the configuration has no `zero_optimization`", view.place("deepspeed"), hint
        )
    stage = _plain_at(content, "zero_optimization.stage")
    if stage is not None and (isinstance(stage, bool) or stage not in (0, 1, 2, 3)):
        _say(view, content, "zero_optimization.stage", f"ZeRO has the stages 0 to 3, not {stage}")
    for dotted, where in _leaves(content):
        if where.value == "auto" and dotted not in AUTO:
            _say(
                view,
                content,
                dotted,
                f'nothing puts a value in place of "auto" for `{dotted}`',
                "write a value",
            )
    for dotted, key in MATCHED.items():
        value, ours = _plain_at(content, dotted), view.number(key)
        if isinstance(value, int | float) and ours is not None and value != ours:
            given = "" if key in view else " by default"
            message = f"DeepSpeed's `{dotted}` is {value:g}, but `{key}` is {ours:g}{given}"
            _say(view, content, dotted, message, 'write "auto" there, or make them the same', key)
    for precision in ("fp16", "bf16"):
        enabled = _plain_at(content, f"{precision}.enabled")
        if isinstance(enabled, bool) and enabled != (view.on(precision) or view.on(f"{precision}_full_eval")):
            given = "true" if view.on(precision) else "false"
            message = (
                f"DeepSpeed's `{precision}.enabled` is {str(enabled).lower()}, but `{precision}` is {given}"
            )
            _say(
                view,
                content,
                f"{precision}.enabled",
                message,
                'write "auto" there, or make them the same',
                precision,
            )
    if stage == 3:
        for key in NOT_WITH_ZERO3:
            if view.on(key) and not (key == "predict_with_generate" and view.stage != "sft"):
                view.conflict(key, "deepspeed", f"`{key}` does not go with ZeRO-3", "use `deepspeed: zero2`")
        bits = view.number("quantization_bit")
        if bits is not None and bits != 4:
            message = "with ZeRO-3, weights can be quantized to 4 bits only"
            view.conflict("quantization_bit", "deepspeed", message)


def _say(
    view: View, content: Mapping, dotted: str, message: str, hint: str | None = None, key: str = ""
) -> None:
    """At the recipe's own text; a note shows the place in the file."""
    path: NodePath = tuple(dotted.split("."))
    inner = key_span(content, path)
    where: Node | Span = view.place(key) if key and key in view.block.entries else view.place("deepspeed")
    if content is view.block.get("deepspeed") and inner is not None:
        where, inner = inner, None
    notes = [("here", inner)] if inner is not None else []
    view.found.add("bad-deepspeed", message, where, hint=hint, notes=notes)


def _plain_at(content: Mapping, dotted: str) -> Any:
    node = at(content, tuple(dotted.split(".")))
    return None if node is None else plain(node)


def _leaves(content: Mapping) -> Iterator[tuple[str, Scalar]]:
    for path, node in walk(content):
        if isinstance(node, Scalar):
            yield ".".join(map(str, path)), node


RULES: tuple[Callable[[View], None], ...] = (check,)
