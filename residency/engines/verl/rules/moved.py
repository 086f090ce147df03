"""Keys and values of older verl that its tree still has, and that nothing reads."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl import moved, tree
from residency.engines.verl.rules.launcher import BESIDE_REWARDS, RESERVED
from residency.engines.verl.rules.view import ACTOR, View

DEAD = ("custom_reward_function", "reward_model", "sandbox_fusion")
"""Blocks that `main_ppo` accepts and never reads."""


def keys(view: View) -> None:
    """Each old key with its successor. Those that the tree lacks are unknown to the schema, which says so."""
    for name, key in view.keys.items():
        change = moved.change(name)
        if change is None or key.prefix == "~":
            continue
        if name in moved.STILL_READ:
            view.warn("deprecated", f"`{name}` is an old name", key.span, change.hint)
        elif name in moved.PER_GPU:
            view.error(
                "moved-key", f"`{name}` is of older verl: sizes count a GPU now", key.span, change.hint
            )
        elif name.split(".")[0] in DEAD or (key.prefix and not tree.known(name)):
            message = f"`{name}` is of older verl; the pinned one would run on without it"
            view.error("moved-key", message, key.span, _hint(change))
    for name, meant in moved.MEANT.items():
        value = view.get(name)
        if name in view and isinstance(value, str | bool) and value in meant:
            view.error(
                "moved-key",
                f"`{name}: {value}` is of older verl",
                view.place(name),
                f"it is `{meant[value]}` now",
            )


def _hint(change: moved.Change) -> str:
    """What to write in a recipe: its own keys stand in for most of verl's reward."""
    for block, hint in {**BESIDE_REWARDS, **RESERVED}.items():
        if change.new is not None and (change.new == block or change.new.startswith(block + ".")):
            return hint
    return change.hint


def clip_ratio(view: View) -> None:
    """`clip_ratio` counts only where low and high are null, and their defaults are 0.2."""
    low, high = view.number(f"{ACTOR}.clip_ratio_low"), view.number(f"{ACTOR}.clip_ratio_high")
    whole = view.number(f"{ACTOR}.clip_ratio")
    divergence = str(view.get(f"{ACTOR}.policy_loss.loss_mode")).startswith("dppo")  # these read it
    written = f"{ACTOR}.clip_ratio" in view and not divergence
    if written and None not in (low, high) and (low, high) != (whole, whole):
        view.warn(
            "unused-key",
            f"verl clips by `clip_ratio_low` ({low}) and `clip_ratio_high` ({high}), and not by `clip_ratio`",
            view.place(f"{ACTOR}.clip_ratio"),
            f"give `clip_ratio_low: {whole}` and `clip_ratio_high: {whole}`",
            (f"{ACTOR}.clip_ratio_low", f"{ACTOR}.clip_ratio_high"),
        )
    if low is not None and high is not None and low > high:
        view.warn(
            "unusual-value",
            f"`clip_ratio_low` ({low}) is above `clip_ratio_high` ({high})",
            view.place(view.at_first(f"{ACTOR}.clip_ratio_low", f"{ACTOR}.clip_ratio_high")),
            "clip-higher is the other way round: low 0.2, high 0.28",
        )


RULES: tuple[Callable[[View], None], ...] = (keys, clip_ratio)
