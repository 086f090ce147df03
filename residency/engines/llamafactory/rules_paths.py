"""Rules of paths: models and adapters that must be there, the output folder, the checkpoint to go on from."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from residency.engines.llamafactory.view import View, known, names
from residency.engines.places import beside
from residency.recipe.nodes import Node, Scalar, Span

MODELS = ("model_name_or_path", "ref_model", "reward_model")
ADAPTERS = ("adapter_name_or_path", "ref_model_adapters", "reward_model_adapters")
MARKER = ".residency.json"
"""Stands in an output folder that the launcher made, with the recipe's name."""
_HUB = re.compile(r"^[\w.-]+(/[\w.-]+)?$")


def models(view: View) -> None:
    """Models and adapters on this disk exist; hub names are left to the hub."""
    for key in MODELS:
        node = view.block.get(key)
        if isinstance(node, Scalar) and known(node.value):
            _model(view, key, node.value, node, "config.json")
    for key in ADAPTERS:
        for name, where in names(view.block.get(key)):
            if known(name):
                _model(view, key, name, where, "adapter_config.json")


def looks_like_path(view: View, value: str) -> bool:
    """True for `./x`, `../x`, `~/x`, `/x`, more than one slash, or a first part that is a folder here."""
    if value.startswith(("/", "./", "../", "~")) or value in (".", "..") or not _HUB.match(value):
        return True
    first, slash, _ = value.partition("/")
    return bool(slash) and any((root / first).is_dir() for root in view.roots)


def _model(view: View, key: str, value: str, where: Node | Span, config: str) -> None:
    path = view.find(value)
    what = "model" if config == "config.json" else "adapter"
    if path is None:
        if looks_like_path(view, value):
            near = beside(value, view.roots) or "a name on the hub is written org/name"
            view.error("model-missing", f"the {what} folder {value} is not there", where, near)
        return
    if not path.is_dir():
        if path.suffix == ".gguf":
            words = "convert it first with an `export` stage (`source:`)"
            view.error("model-missing", f"{value} is a GGUF file, not a checkpoint folder", where, words)
        elif looks_like_path(view, value):
            view.error("model-missing", f"{value} is a file, not a folder with a {what}", where)
        return
    if (path / config).is_file():
        _length(view, key, path)
        return
    hint: str | None = None
    if what == "model" and (path / "adapter_config.json").is_file():
        hint = "it is an adapter: give its base model here, and this folder under `adapter_name_or_path`"
    elif what == "adapter" and (path / "config.json").is_file():
        hint = "it is a whole model: give it under `model_name_or_path`"
    elif any(path.glob("checkpoint-*")):
        latest = sorted(path.glob("checkpoint-*"))[-1].name
        hint = f"it holds checkpoints; did you mean `{value.rstrip('/')}/{latest}`?"
    if looks_like_path(view, value):
        view.error("model-missing", f"{value} holds no {config}", where, hint)


def _length(view: View, key: str, path: Path) -> None:
    """A warning for sequences longer than the model's positions."""
    if key != "model_name_or_path" or "rope_scaling" in view:
        return
    try:
        config: Any = json.loads((path / "config.json").read_text(encoding="utf-8"))
        most = config.get("max_position_embeddings")
    except (OSError, ValueError, AttributeError):
        return
    cutoff = view.number("cutoff_len")
    if isinstance(most, int) and cutoff is not None and cutoff > most:
        given = "" if "cutoff_len" in view else ", the default,"
        message = f"`cutoff_len` ({cutoff:g}{given}) is longer than the model's {most} positions"
        view.warn("unusual-value", message, view.place("cutoff_len"), f"set `cutoff_len: {most}` or less")


def foreign_code(view: View) -> None:
    """`trust_remote_code` runs what comes with the model: said, for examples carry it along.

    Not said for a model of an earlier stage, for a folder here whose configuration calls for no
    code of its own (`auto_map`), or after `--trust MODEL`.
    """
    if not view.on("trust_remote_code"):
        return
    named = [str(value) for key in MODELS if known(value := view.get(key))]
    asking = [name for name in named if name not in view.context.trust and _may_bring_code(view.find(name))]
    if asking:
        view.warn(
            "untrusted",
            f"`trust_remote_code` lets code run that comes with {' and '.join(asking)}",
            view.place("trust_remote_code"),
            "few models need it: leave it out, or add "
            + " ".join(f"`--trust {name}`" for name in asking)
            + " to the command line if you trust the code",
        )


def _may_bring_code(folder: Path | None) -> bool:
    """True for a model on a hub, and for a folder whose configuration names code."""
    if folder is None:
        return True
    for name in ("config.json", "tokenizer_config.json"):
        try:
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if '"auto_map"' in text:
            return True
    return False


def resume(view: View) -> None:
    """The checkpoint to go on from is there."""
    node = view.block.get("resume_from_checkpoint")
    if not isinstance(node, Scalar) or not known(node.value):
        return
    path = view.find(str(node.value))
    if path is None:
        hint = beside(str(node.value), view.roots) or "leave it out: an interrupted run goes on by itself"
        view.error("missing-file", f"the checkpoint {node.value} is not there", node, hint)
    elif not (path / "trainer_state.json").is_file():
        message = f"{node.value} is no checkpoint to go on from: it holds no trainer_state.json"
        view.error("missing-file", message, node)


def output_dir(view: View) -> None:
    """The output folder is new, or its use is meant."""
    node = view.block.get("output_dir")
    if not isinstance(node, Scalar) or not known(node.value):
        return
    if view.on("overwrite_output_dir") or view.get("resume_from_checkpoint"):
        return
    path = view.roots[0] / Path(str(node.value)).expanduser()
    if path.exists() and not path.is_dir():
        view.error("output-dir-in-use", f"`output_dir` {node.value} is a file", node)
        return
    if not path.is_dir() or not any(path.iterdir()) or _ours(path, view.recipe.name):
        return
    hint = "choose another, or add `overwrite_output_dir: true` or `resume_from_checkpoint: …`"
    view.error("output-dir-in-use", f"`output_dir` {node.value} is in use: it is not empty", node, hint)


def _ours(path: Path, name: str) -> bool:
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(marker, dict) and name in (marker.get("recipe"), marker.get("name"))


RULES: tuple[Callable[[View], None], ...] = (models, foreign_code, resume, output_dir)
