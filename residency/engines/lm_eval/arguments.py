"""The `lm_eval:` block: lm-eval's command-line arguments, and what is filled in where it is silent."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from residency.endpoint.settings import endpoint
from residency.engines.base import CheckContext
from residency.engines.lm_eval import places, served_stage
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import key_span

BATCH_CPU = 8
"""Requests a batch on a CPU. Measured with a 135M model and 320-token questions on 2 cores, bfloat16:
0.90 s a question alone, 0.51 by 4, 0.44 by 8, 0.45 by 16."""

BATCH_GPU = 16

HF_MODELS = ("hf", "hf-auto", "huggingface")
"""lm-eval's names for a model that transformers loads."""

SERVERS = (
    "local-completions",
    "local-chat-completions",
    "openai-completions",
    "openai-chat-completions",
    "anthropic-chat",
    "anthropic-completions",
)
"""lm-eval's models that are asked over a network; they know the model by `model=`."""

RESERVED = {
    "tasks": "name the tasks under the recipe's own `tasks:`",
    "include_path": "put a task file into recipes/tasks/ and name it under `tasks:`",
    "output_path": "leave it out: results lie in the stage's outputs/",
    "log_samples": "leave it out: samples are always written",
    "use_cache": "leave it out: finished answers are always kept, and used when the stage goes on",
    "cache_requests": "leave it out: finished answers are always kept",
    "config": "write its keys here instead",
    "predict_only": "leave it out: a stage without a score is no evaluation",
    "check_integrity": "leave it out: it runs lm-eval's own tests, which its package does not hold",
    "wandb_args": "leave it out: results are shown by `launch.py show`",
    "wandb_config_args": "leave it out: results are shown by `launch.py show`",
    "trackio_args": "leave it out: results are shown by `launch.py show`",
    "hf_hub_log_args": "leave it out: results stay on this machine",
    "show_config": "leave it out: what is run stands in the stage's lm_eval.yaml",
}
"""Arguments that a recipe cannot give, and what to do instead."""

FOREIGN = ("trust_remote_code", "confirm_run_unsafe_code")
"""Arguments that let code from a model or a task run."""


def mapping(value: Any) -> dict[str, Any]:
    """A mapping argument as lm-eval reads it: a mapping, or `key=value,key=value`."""
    if isinstance(value, Mapping):
        return dict(value)
    items = [item.partition("=") for item in str(value or "").split(",") if item.strip()]
    return {key.strip(): _typed(text.strip()) for key, _, text in items}


def _typed(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


@functools.cache
def fast_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this CPU multiplies bfloat16 in hardware; then it is 1.7 times as fast as float32."""
    try:
        words = set(cpuinfo.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def filled(
    config: Mapping[str, Any], *, model: str | None, adapter: str | None, tasks: list[str], gpus: int
) -> dict[str, Any]:
    """lm-eval's arguments in the form of its `--config` file: the recipe's, and what it leaves open.

    Args:
        config: The resolved recipe.
        model: An absolute path, or a hub name; None where an endpoint alone says what answers.
        adapter: The same for the adapter, or None.
        tasks: The tasks' names.
        gpus: GPUs of the stage; 0 for a CPU.
    """
    given = places.block(config)
    kind = str(given.get("model") or "hf")
    own = mapping(given.get("model_args"))
    if kind in HF_MODELS:
        dtype = "bfloat16" if gpus or fast_bfloat16() else "float32"
        model_args = {"pretrained": model, "dtype": dtype, **own}
        if adapter:
            model_args = {"peft": adapter, **model_args}
    elif kind in SERVERS:
        model_args = {"model": model, **own}
    else:
        model_args = {"pretrained": model, **own}
        if kind == "vllm":
            model_args = {"tensor_parallel_size": max(1, gpus), **model_args}
            if adapter:
                model_args = {"lora_local_path": adapter, **model_args}
    limit = places.limit(config)
    over = endpoint(config)
    if over is not None:
        return {
            **given,
            **({} if served_stage.by_tokens(over, model) else {"apply_chat_template": True}),
            "tasks": tasks,
            "include_path": "tasks",
            **({} if limit is None else {"limit": limit}),
            "log_samples": True,
            "output_path": "outputs/lm_eval",
        }
    return {
        **given,
        "model": kind,
        "model_args": model_args,
        "tasks": tasks,
        "include_path": "tasks",
        "device": given.get("device") or ("cuda" if gpus else "cpu"),
        "batch_size": given.get("batch_size") or (BATCH_GPU if gpus else BATCH_CPU),
        **({} if limit is None else {"limit": limit}),
        "log_samples": True,
        "output_path": "outputs/lm_eval",
    }


def check(recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
    """Arguments that the launcher sets itself, that contradict each other, or that run foreign code."""
    config = recipe.config
    given = places.block(config)

    def where(*path: str) -> Any:
        return key_span(recipe.tree, path) or recipe.tree

    for key, hint in RESERVED.items():
        if key in given:
            found.add(
                "reserved-key", f"lm_eval.{key} is set by the launcher", where("lm_eval", key), hint=hint
            )
    model_args = mapping(given.get("model_args"))
    for key, instead in (("pretrained", "model"), ("peft", "adapter")):
        if key in model_args:
            found.add(
                "reserved-key",
                f"lm_eval.model_args.{key} is set by the launcher",
                where("lm_eval", "model_args", key),
                hint=f"name it under the recipe's own `{instead}:`",
            )
    for key in FOREIGN:
        asked = given.get(key) or model_args.get(key)
        if asked and str(config.get("model")) not in context.trust:
            path = ("lm_eval", key) if key in given else ("lm_eval", "model_args", key)
            found.add(
                "untrusted",
                f"{key} lets code run that comes with the model or the task",
                where(*path),
                hint=f"if you trust it, add `--trust {config.get('model')}` to the command line",
            )
    if config.get("endpoint"):
        _check_beside_endpoint(given, where, found)
    if "samples" in given and places.limit(config) is not None:
        found.add(
            "conflicting-keys",
            "lm_eval.samples picks questions, and a limit cuts them",
            where("lm_eval", "samples"),
            hint="keep one of the two",
        )
    if "limit" in given and config.get("limit") not in (None, given["limit"]):
        found.add(
            "conflicting-keys",
            f"lm_eval.limit is {given['limit']} and limit is {config['limit']}",
            where("lm_eval", "limit"),
            hint="keep `limit:`",
        )
    if given.get("fewshot_as_multiturn") is True and not given.get("apply_chat_template"):
        found.add(
            "conflicting-keys",
            "fewshot_as_multiturn needs a chat template",
            where("lm_eval", "fewshot_as_multiturn"),
            hint="add `apply_chat_template: true`",
        )
    if config.get("adapter") and str(given.get("model") or "hf") not in (*HF_MODELS, "vllm"):
        found.add(
            "conflicting-keys",
            f"lm-eval's model {given['model']!r} takes no adapter",
            where("adapter"),
            hint="merge it with an `export` stage, or use `model: hf`",
        )


def _check_beside_endpoint(given: Mapping[str, Any], where: Callable[..., Any], found: Diagnostics) -> None:
    """Arguments of a model in process, beside a server."""
    for key in ("model", "model_args", "device", "max_batch_size"):
        if key in given:
            found.add(
                "conflicting-keys",
                f"`endpoint` says what answers, and lm_eval.{key} is for a model in this process",
                where("lm_eval", key),
                hint="leave it out: what the endpoint is and how it is asked stands under `endpoint:`",
            )
