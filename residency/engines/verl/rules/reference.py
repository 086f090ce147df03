"""Rules of `reference:`, and of a Ray cluster to join."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl.rules.view import ACTOR, View
from residency.engines.verl.settings import RAY, names_a_cluster

_MODE = "trainer.v1.trainer_mode"
_LORA = ("actor_rollout_ref.model.lora_rank", "actor_rollout_ref.model.lora.rank")


def iterations(view: View) -> None:
    """A reference model can be renewed where there is one, and where it is a model of its own."""
    asked = view.own("reference")
    count = asked.get("num_iterations") if isinstance(asked, dict) else None
    if not isinstance(count, int) or count < 2:
        return
    where = view.own_key("reference")
    lora = next((name for name in _LORA if (view.number(name) or 0) > 0), None)
    if lora is not None:
        view.error(
            "conflicting-keys",
            "with LoRA the reference is the model without its adapter, and cannot be renewed",
            where,
            "leave out `reference:`, or train all weights",
            (lora,),
        )
    elif view.text(_MODE) == "separate_async":
        view.error(
            "conflicting-keys",
            "the trainer `separate_async` keeps policy and reference apart: the one cannot become the other",
            where,
            "leave out `reference:`, or the trainer's mode",
            (_MODE,),
        )
    elif not view.reference:
        view.warn(
            "unused-key",
            "`reference.num_iterations` has no effect: nothing is measured against a reference model",
            where,
            f"set `{ACTOR}.use_kl_loss: true`, or leave it out",
        )
    steps = view.number("trainer.total_training_steps")
    if steps is not None and count > steps:
        view.error(
            "out-of-range",
            f"{count} iterations of a training of {steps:g} steps",
            where,
            "lower `reference.num_iterations`",
            ("trainer.total_training_steps",),
        )


def cluster(view: View) -> None:
    """A cluster has what it has: Ray refuses to be told so on joining."""
    if not names_a_cluster(view.get(f"{RAY}.address")):
        return
    for name in ("num_cpus", "num_gpus", "_temp_dir", "include_dashboard"):
        if f"{RAY}.{name}" in view:
            view.error(
                "conflicting-keys",
                f"`ray_init.{name}` is for a Ray that the launcher starts, not for one that is joined",
                view.key(f"{RAY}.{name}"),
                f"leave it out, or leave out `{RAY}.address`",
                (f"{RAY}.address",),
            )


RULES: tuple[Callable[[View], None], ...] = (iterations, cluster)
