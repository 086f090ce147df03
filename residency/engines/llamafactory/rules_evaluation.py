"""Rules of evaluation during training, and of the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.llamafactory.view import View, plain_or_none

_WANT = ("eval_strategy", "do_eval", "predict_with_generate", "do_predict")


def evaluates(view: View) -> bool:
    """True when evaluation takes place during training."""
    return view.get("eval_strategy") not in ("no", None)


def has_set(view: View) -> bool:
    """True when there is something to evaluate on."""
    given = plain_or_none(view.recipe.tree.get("eval_dataset")) or view.get("eval_dataset")
    return bool(given) or (view.number("val_size") or 0) > 1e-6


def needs_a_set(view: View) -> None:
    """Evaluation needs `eval_dataset` or `val_size`."""
    if has_set(view):
        return
    for key in _WANT:
        wanted = evaluates(view) if key == "eval_strategy" else view.on(key)
        if key in ("predict_with_generate", "do_predict") and view.stage != "sft":
            continue  # refused for another reason
        if wanted:
            hint = "add `val_size: 0.05`, or name a set under `eval_dataset`"
            view.error("no-eval-set", f"`{key}` needs something to evaluate on", view.key(key), hint)
            return


def one_set(view: View) -> None:
    """`val_size` cuts from the training set, `eval_dataset` names another: not both."""
    if (view.number("val_size") or 0) <= 1e-6:
        return
    if plain_or_none(view.recipe.tree.get("eval_dataset")) or "eval_dataset" in view:
        message = "`val_size` and `eval_dataset` exclude each other"
        view.conflict("val_size", "eval_dataset", message, "keep the one that is meant")


def never_used(view: View) -> None:
    """A set to evaluate on that nothing evaluates on."""
    both = (view.number("val_size") or 0) > 1e-6 and "eval_dataset" in view
    if not both and has_set(view) and not evaluates(view) and not any(view.on(key) for key in _WANT[1:]):
        key = "val_size" if (view.number("val_size") or 0) > 1e-6 else "eval_dataset"
        above = view.recipe.tree.entries.get(key)
        where = view.key(key) if key in view.block.entries or above is None else above.key_span
        hint = "add `eval_strategy: steps` and `eval_steps: …`, or leave it out"
        view.warn("unused-key", f"`{key}` is given, but nothing is evaluated during training", where, hint)


def best_model(view: View) -> None:
    """Loading the best checkpoint needs evaluation whenever one is saved."""
    key = "load_best_model_at_end"
    if view.on(key):
        if view.stage in ("rm", "ppo"):
            view.conflict(key, "stage", f"`{key}` does not go with `stage: {view.stage}`")
            return
        evaluated, saved = view.get("eval_strategy"), view.get("save_strategy")
        if saved != "best" and evaluated != saved:
            message = f"`{key}` needs evaluation and saving at the same times"
            hint = f"`eval_strategy` is {evaluated}, `save_strategy` is {saved}: set both to the same"
            view.error("conflicting-keys", message, view.key(key), hint, ("eval_strategy", "save_strategy"))
        elif saved == "steps":
            _multiple(view)
    if "early_stopping_steps" in view:
        if not evaluates(view):
            message = "`early_stopping_steps` needs evaluation during training"
            view.conflict("early_stopping_steps", "eval_strategy", message, "set `eval_strategy: steps`")
        elif "metric_for_best_model" not in view and not view.on(key):
            message = "`early_stopping_steps` needs a figure to watch"
            hint = f"add `{key}: true`, which watches the loss, or `metric_for_best_model: …`"
            view.error("missing-key", message, view.key("early_stopping_steps"), hint)


def _multiple(view: View) -> None:
    """`save_steps` must be a multiple of `eval_steps`; where it is left out, the launcher chooses one."""
    save, every = view.number("save_steps"), view.number("eval_steps") or view.number("logging_steps")
    if "save_steps" not in view or save is None or not every:
        return
    if (save < 1) != (every < 1) or round(save * 1_000_000) % round(every * 1_000_000) != 0:
        message = f"`save_steps` ({save:g}) must be a multiple of `eval_steps` ({every:g})"
        hint = "`load_best_model_at_end` needs it"
        view.error("conflicting-keys", message, view.place("save_steps"), hint, ("eval_steps",))


def schedulers(view: View) -> None:
    """Schedulers that follow the evaluation loss."""
    kind = view.get("lr_scheduler_type")
    if kind in ("reduce_lr_on_plateau", "greedy") and not evaluates(view):
        message = f"`lr_scheduler_type: {kind}` needs evaluation during training"
        view.conflict("lr_scheduler_type", "eval_strategy", message, "set `eval_strategy: steps`")


def generation(view: View) -> None:
    """Predicting by generation."""
    if view.stage != "sft" or not view.on("predict_with_generate"):
        return
    if view.on("compute_accuracy"):
        view.conflict(
            "compute_accuracy", "predict_with_generate", "`compute_accuracy` excludes `predict_with_generate`"
        )
    view.needs_package("predict_with_generate", "jieba", "nltk", "rouge_chinese")


RULES: tuple[Callable[[View], None], ...] = (
    needs_a_set,
    one_set,
    never_used,
    best_model,
    schedulers,
    generation,
)
