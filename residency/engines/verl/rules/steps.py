"""Rules of how long, how often it is validated and saved, and where it is logged."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl.rules.view import TRAINER, View, texts
from residency.recipe.suggest import closest

LOGGERS = (
    "console",
    "wandb",
    "tensorboard",
    "swanlab",
    "mlflow",
    "file",
    "trackio",
    "clearml",
    "vemlp_wandb",
    "rl_insight",
)
"""What verl 0.9.1 can log to."""
STEPS, EPOCHS = "trainer.total_training_steps", "trainer.total_epochs"


def length(view: View) -> None:
    """Something says how long it is trained."""
    if STEPS not in view and EPOCHS not in view and STEPS not in view.keys:
        view.warn(
            "unusual-value",
            "nothing says how long to train: verl's default is 30 epochs",
            view.key(STEPS),
            f"add `{STEPS}: …` or `{EPOCHS}: …`",
        )
    if view.on("trainer.val_only"):
        view.error(
            "trains-nothing",
            "`trainer.val_only` trains nothing",
            view.place("trainer.val_only"),
            "leave it out; to measure a model use `kind: evaluate`",
        )
    steps, warmup = view.count(STEPS), view.number("actor_rollout_ref.actor.optim.lr_warmup_steps") or 0
    if steps is not None and warmup > steps:
        view.warn(
            "unusual-value",
            f"`lr_warmup_steps` ({warmup:g}) is longer than the training ({steps} steps)",
            view.place("actor_rollout_ref.actor.optim.lr_warmup_steps"),
            None,
            (STEPS,),
        )
    waits = view.number("trainer.critic_warmup") or 0
    if steps is not None and waits >= steps and view.critic:
        view.error(
            "trains-nothing",
            f"`trainer.critic_warmup` ({waits:g}) leaves the actor no step of {steps}",
            view.place("trainer.critic_warmup"),
            "it counts the steps in which the critic alone is trained",
            (STEPS,),
        )


def validation(view: View) -> None:
    """Validation has questions."""
    if "eval_dataset" in view.recipe.tree.entries and view.recipe.tree.get("eval_dataset") is not None:
        node = view.recipe.tree.get("eval_dataset")
        if getattr(node, "value", True) is not None:
            return
    if "data.val_files" in view:
        return
    for name in ("trainer.test_freq", "trainer.val_before_train"):
        value = view.get(name)
        if name in view and (value is True or (isinstance(value, int) and value > 0)):
            view.error(
                "no-eval-set",
                f"`{name}` asks for validation, and there is nothing to validate on",
                view.place(name),
                "add `eval_dataset: …`, or leave it out",
            )


def saving(view: View) -> None:
    """Going on from another run's checkpoint needs its folder."""
    if view.get("trainer.resume_mode") == "resume_path" and "trainer.resume_mode" in view:
        value = view.text("trainer.resume_from_path")
        if value is None:
            if "trainer.resume_from_path" not in view.keys:
                view.error(
                    "missing-key",
                    "`resume_mode: resume_path` needs `trainer.resume_from_path`",
                    view.place("trainer.resume_mode"),
                    "add `trainer.resume_from_path: …/global_step_N`",
                )
        elif "global_step_" not in value:
            view.error(
                "wrong-form",
                f"{value} is no checkpoint of verl: its folder is called global_step_N",
                view.place("trainer.resume_from_path"),
            )
        elif view.find(value) is None:
            view.error(
                "missing-file",
                f"the checkpoint {value} is not there",
                view.place("trainer.resume_from_path"),
                "leave it out: an interrupted stage goes on by itself",
            )
    elif "trainer.resume_from_path" in view:
        view.warn(
            "unused-key",
            "`trainer.resume_from_path` has no effect without `trainer.resume_mode: resume_path`",
            view.key("trainer.resume_from_path"),
            "add it, or leave this out",
        )


def logger(view: View) -> None:
    """Names of loggers."""
    key = view.keys.get(f"{TRAINER}.logger")
    for name, where in texts(key.node) if key is not None else []:
        if name not in LOGGERS:
            near = closest(name, LOGGERS)
            hint = f"did you mean `{near[0]}`?" if near else "choose from " + ", ".join(LOGGERS)
            view.error("not-a-choice", f"verl cannot log to `{name}`", where, hint)


RULES: tuple[Callable[[View], None], ...] = (length, validation, saving, logger)
