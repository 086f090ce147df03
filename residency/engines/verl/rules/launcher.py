"""Keys that the launcher sets itself, and keys of verl beside keys of the recipe that say the same."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl import places
from residency.engines.verl.rules.view import ROLLOUT, View
from residency.recipe.nodes import Span

RESERVED: dict[str, str] = {
    "trainer.default_local_dir": "leave it out; `checkpoints: {mirror: DIR}` keeps a second copy",
    "trainer.default_hdfs_dir": "`checkpoints: {mirror: DIR}` copies checkpoints elsewhere",
    "trainer.device": "write `hardware: cpu` or `hardware: gpu`",
    "trainer.use_v1": "leave it out: training goes by verl's v1 trainer",
    "reward.reward_manager": "leave it out: what stands under `rewards:` is called by a manager of ours",
}
"""Keys that would do nothing, with what to do instead."""
BESIDE_REWARDS: dict[str, str] = {
    "reward.custom_reward_function": (
        "write the function under `rewards/` and name it: `rewards: [{fn: rewards.MODULE.FUNCTION}]`"
    ),
    "reward.reward_kwargs": "give arguments with the function: `rewards: [{fn: …, args: {…}}]`",
    "reward.reward_model.enable": (
        "a model that judges is a reward function: `rewards: [{fn: rewards.verifier.…, args: {model: …}}]`"
    ),
}
"""Keys of verl's reward that `rewards:` stands in for."""
_LONG = "`rows: {long_prompts: drop | truncate | stop}` says what becomes of long prompts"
PREPARED = {
    "data.filter_overlong_prompts": _LONG,
    "data.filter_overlong_prompts_workers": _LONG,
    "data.truncation": _LONG,
    "data.return_raw_chat": "leave it out: prompts are always written as messages",
    "data.prompt_key": "`rows: {prompt: …}` says how a row becomes a prompt",
}
"""Keys of verl's data reading that have no effect, since the launcher writes what verl reads."""


def reserved(view: View) -> None:
    """Keys that the launcher sets."""
    for name, hint in RESERVED.items():
        for key in view.under(name):
            if name == "trainer.use_v1" and view.get(name) is True:
                continue
            message = f"`{key.name}` is set by the launcher"
            view.error("reserved-key", message, key.span, hint)
    if view.get("trainer.resume_mode") == "disable" and "trainer.resume_mode" in view:
        view.error(
            "reserved-key",
            "an interrupted stage always goes on from its last checkpoint",
            view.place("trainer.resume_mode"),
            "leave it out; `--from STAGE` runs a stage anew",
        )


def rewards(view: View) -> None:
    """verl's own reward keys beside `rewards:`."""
    for name, hint in BESIDE_REWARDS.items():
        for key in view.under(name):
            if name == "reward.reward_model.enable" and not view.on(name):
                continue
            message = f"`{key.name}` has no place beside `rewards:`, which the reward is made of"
            _beside(view, "conflicting-keys", message, key.span, hint, "rewards")


def data(view: View) -> None:
    """verl's data keys beside the recipe's."""
    for name, own in (("data.train_files", "dataset"), ("data.val_files", "eval_dataset")):
        if name in view and own in view.recipe.tree.entries:
            message = f"`{name}` and `{own}:` both say where the questions are"
            _beside(view, "conflicting-keys", message, view.key(name), f"keep `{own}:`", own)
    if "dataset" not in view.recipe.tree.entries and "data.train_files" not in view:
        view.error(
            "missing-key",
            "nothing says what questions to train on",
            view.key("data.train_files"),
            "add `dataset: …`: a name in dataset_info.json, a data stage's output, or verl's parquet files",
        )
    for name, hint in PREPARED.items():
        if name in view:
            view.warn(
                "unused-key",
                f"`{name}` has no effect: the launcher prepares the prompts",
                view.key(name),
                hint,
            )
    if "data.val_batch_size" in view:
        view.warn(
            "unused-key",
            "`data.val_batch_size` is deprecated: the engine takes all questions at once",
            view.key("data.val_batch_size"),
            "leave it out",
        )


def checkpoints(view: View) -> None:
    """`checkpoints:` and verl's keys for the same."""
    asked = view.own("checkpoints")
    if not isinstance(asked, dict):
        return
    for own, names in (
        ("every", ("trainer.save_freq",)),
        ("max_keep", ("trainer.max_actor_ckpt_to_keep", "trainer.max_critic_ckpt_to_keep")),
    ):
        for name in names:
            if own in asked and name in view and view.get(name) not in (asked[own], -1):
                message = f"`{name}` ({view.get(name)}) contradicts `checkpoints.{own}` ({asked[own]})"
                hint = f"keep `checkpoints.{own}`"
                _beside(view, "conflicting-keys", message, view.place(name), hint, "checkpoints")


def tools(view: View) -> None:
    """`tools:` and verl's keys for the same."""
    asked = bool(view.own("tools"))
    turns = f"{ROLLOUT}.multi_turn"
    if asked:
        for name in (f"{turns}.function_tool_path", f"{turns}.tool_config_path"):
            if name in view:
                message = f"`{name}` and `tools:` both name the tools"
                _beside(view, "conflicting-keys", message, view.key(name), "keep `tools:`", "tools")
        if f"{turns}.enable" in view and view.get(f"{turns}.enable") is False:
            message = "`tools:` need several turns, and `multi_turn.enable` is off"
            where = view.place(f"{turns}.enable")
            _beside(
                view, "conflicting-keys", message, where, "set it to true, or leave out `tools:`", "tools"
            )
        loop = f"{ROLLOUT}.agent.default_agent_loop"
        if loop in view and view.get(loop) == "single_turn_agent":
            message = "`single_turn_agent` calls no tools"
            hint = "leave it out, or name `tool_agent`"
            _beside(view, "conflicting-keys", message, view.place(loop), hint, "tools")
    elif view.on(f"{turns}.enable") and not any(
        f"{turns}.{key}" in view for key in ("function_tool_path", "tool_config_path")
    ):
        view.warn(
            "unused-key",
            "`multi_turn.enable` without tools: each answer is one turn",
            view.place(f"{turns}.enable"),
            "add `tools: [a.dotted.path]`",
        )


def files(view: View) -> None:
    """Files that verl reads are there."""
    for name in places.FILE_KEYS:
        value = view.text(name)
        if name in view and value is not None and "://" not in value and view.find(value) is None:
            view.error(
                "missing-file",
                f"the file {value} is not there",
                view.place(name),
                "a relative path starts at the recipe's folder",
            )


def _beside(view: View, code: str, message: str, where: object, hint: str, own: str) -> None:
    """An error with a note at one of the recipe's own keys."""
    entry = view.recipe.tree.entries.get(own)
    notes: list[tuple[str, Span]] = [(f"`{own}` stands here", entry.key_span)] if entry else []
    view.found.add(code, message, where, hint=hint, notes=notes)  # type: ignore[arg-type]


def groups(view: View) -> None:
    """Hydra's groups choose among verl's files; only its FSDP files are known here."""
    engine = view.keys.get("model_engine")
    if engine is not None and view.text("model_engine") not in (None, "dp"):
        view.error(
            "not-a-choice",
            f"`model_engine: {view.text('model_engine')}` is not supported",
            view.place("model_engine"),
            "leave it out: training goes by FSDP (`model_engine: dp`)",
        )


RULES: tuple[Callable[[View], None], ...] = (reserved, rewards, data, checkpoints, tools, groups, files)
