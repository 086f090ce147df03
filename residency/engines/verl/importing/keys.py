"""A launch script's keys as those of a recipe: names of today, and what stands outside of `verl:`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from residency.engines.verl import moved, tree
from residency.engines.verl.rules.batch import divisor
from residency.engines.verl.rules.view import ACTOR, CRITIC, REF, ROLLOUT

NAMES = ("trainer.experiment_name", "trainer.project_name")
SHOWN = ("custom_reward_function.path", "reward.custom_reward_function.path")
"""Keys whose value is told to the user alone, who copies the file."""
GPUS, NODES = "trainer.n_gpus_per_node", "trainer.nnodes"
DROPPED: dict[str, str] = {
    "trainer.default_local_dir": "checkpoints stand in the stage's folder",
    "trainer.default_hdfs_dir": "`checkpoints: {mirror: DIR}` copies checkpoints",
    "trainer.resume_mode": "an interrupted stage goes on by itself",
    "trainer.resume_from_path": "an interrupted stage goes on by itself",
    "trainer.device": "`hardware:` says it",
    "trainer.use_v1": "training goes by verl's v1 trainer",
    "data.return_raw_chat": "prompts are always written as messages",
    "data.filter_overlong_prompts_workers": "prompts are prepared by the launcher",
    "data.val_batch_size": "the engine takes all validation questions at once",
    f"{ROLLOUT}.mode": "there is one mode",
    "hydra.run.dir": "verl runs in the stage's folder",
    "hydra.output_subdir": "verl runs in the stage's folder",
}
"""Keys that the launcher sets itself, with why."""
QUIET = {
    ("trainer.resume_mode", "auto"),
    ("data.return_raw_chat", True),
    ("trainer.device", "cuda"),
    (f"{ROLLOUT}.mode", "async"),
    ("trainer.use_v1", True),
}
"""Of those, values that mean what the launcher does anyway: nothing to say."""
DEFAULT_REWARD = "residency.engines.verl.default_reward.score"


@dataclass(slots=True)
class Translated:
    """The keys of a recipe."""

    verl: dict[str, Any] = field(default_factory=dict)
    """Dotted key, with a prefix where verl's tree lacks it → value."""
    top: dict[str, Any] = field(default_factory=dict)
    """`dataset`, `rows`, `rewards`, …"""
    reward_file: str | None = None
    """The file of the script's own reward function."""
    notes: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)


def translate(given: Mapping[str, tree.Setting]) -> Translated:
    """A script's settings, by dotted name, as a recipe's."""
    found = Translated()
    flat: dict[str, Any] = {}
    renamed: dict[str, str] = {}
    for setting in given.values():
        _rename(setting, flat, renamed, found)
    _values(flat, found)
    _per_gpu(flat, found)
    _resources(flat, found)
    _data(flat, found)
    _rewards(flat, found)
    _divide(flat, found)
    for name in list(flat):
        if name in DROPPED:
            if (name, flat[name]) not in QUIET:
                found.notes.append(f"`{name}` left out: {DROPPED[name]}")
            del flat[name]
    _say_renamed(renamed, flat, found)
    if "algorithm.adv_estimator" not in flat:
        found.todo.append(
            "`verl.algorithm.adv_estimator`: the script names none; verl's default is gae, with a critic"
        )
    if not any(name in flat for name in ("trainer.total_training_steps", "trainer.total_epochs")):
        found.notes.append("it does not say how long to train: verl's 30 epochs hold")
    for name, value in flat.items():
        found.verl[name if tree.known(name) or name[0] == "~" else f"+{name}"] = value
    return found


def _rename(setting: tree.Setting, flat: dict[str, Any], renamed: dict[str, str], found: Translated) -> None:
    """One key by its name of today; a key that is gone is left out and said."""
    name = setting.name
    if setting.prefix == "~":
        if tree.known(name):
            flat[f"~{name}"] = None
        return
    change = moved.change(name)
    if change is not None and name not in moved.PER_GPU:
        if change.new is None:
            found.notes.append(f"`{name}` left out: {change.hint.removesuffix('; leave it out')}")
            return
        renamed[change.new] = name
        name = change.new
    known = tree.known(name) or setting.prefix or name in moved.PER_GPU
    if not known and not name.startswith(("reward.", "hydra.")):
        found.notes.append(f"`{name}: {setting.value}` left out: verl's tree has no such key")
        return
    flat.pop(name, None)
    flat[name] = setting.value


def _say_renamed(renamed: Mapping[str, str], flat: Mapping[str, Any], found: Translated) -> None:
    """Each key of older verl that was kept by another name; those of the reward in a word."""
    reward = [(old, new) for new, old in renamed.items() if new not in flat]
    found.notes[:0] = [f"`{old}` is `{new}` now" for new, old in renamed.items() if new in flat]
    for block in dict.fromkeys(old.split(".")[0] for old, _ in reward):
        below = [new.split(".")[:-1] for old, new in reward if old.startswith(block + ".")]
        common = ".".join(part[0] for part in zip(*below, strict=False) if len(set(part)) == 1)
        found.notes.append(f"`{block}.*` is `{common}.*` now, which `rewards:` stands for")


def _values(flat: dict[str, Any], found: Translated) -> None:
    """Values of older verl; lists that are written as one text."""
    for name, meant in moved.MEANT.items():
        value = flat.get(name)
        if isinstance(value, str | bool) and value in meant:
            flat[name] = meant[value]
            found.notes.append(f"`{name}: {value}` is `{meant[value]}` now")
    names = flat.get("trainer.logger")
    if isinstance(names, str) and "," in names:
        flat["trainer.logger"] = [part.strip() for part in names.split(",")]
    if f"{ROLLOUT}.name" not in flat:
        flat[f"{ROLLOUT}.name"] = "vllm"
        found.notes.append(f"`{ROLLOUT}.name` is `vllm`, which used to be the default")
    if flat.get(f"{ROLLOUT}.name") == "hf":
        del flat[f"{ROLLOUT}.name"]
        flat[f"{ROLLOUT}.name"] = "vllm"
        found.notes.append(f"`{ROLLOUT}.name: hf` is `vllm` here: verl has no `hf` rollout any more")


def _ranks(flat: Mapping[str, Any]) -> int | None:
    """GPUs of all nodes; None where they are not told."""
    gpus, nodes = flat.get(GPUS, 8), flat.get(NODES, 1)
    return gpus * nodes if isinstance(gpus, int) and isinstance(nodes, int) else None


def _parallel(flat: Mapping[str, Any]) -> int | None:
    ranks, share = _ranks(flat), flat.get(f"{ACTOR}.ulysses_sequence_parallel_size", 1)
    return max(1, ranks // share) if ranks is not None and isinstance(share, int) and share > 0 else None


def _per_gpu(flat: dict[str, Any], found: Translated) -> None:
    """Sizes over all GPUs as sizes of one."""
    parallel = _parallel(flat)
    for old, new in moved.PER_GPU.items():
        size = flat.pop(old, None)
        if size is None or new in flat:
            continue
        if not isinstance(size, int) or parallel is None:
            found.todo.append(f"`{new}`: `{old}` ({size}) over all GPUs")
            continue
        flat[new] = max(1, size // parallel)
        found.notes.append(f"`{old}: {size}` over {parallel} GPUs is `{new}: {flat[new]}`")


def _resources(flat: dict[str, Any], found: Translated) -> None:
    gpus, nodes = flat.get(GPUS, 8), flat.get(NODES, 1)
    if isinstance(gpus, int) and nodes == 1:
        found.top["resources"] = {"gpus": gpus}
        flat.pop(GPUS, None)
        flat.pop(NODES, None)
    elif isinstance(gpus, int):
        found.top["resources"] = {"gpus": gpus}


def _data(flat: dict[str, Any], found: Translated) -> None:
    """Data files and how their rows are read."""
    for name, own in (("data.train_files", "dataset"), ("data.val_files", "eval_dataset")):
        files = flat.pop(name, None)
        if files:
            found.top[own] = files
        elif own == "dataset":
            found.todo.append("`dataset`: the script names no training files")
    rows: dict[str, Any] = {}
    overlong, cut = flat.pop("data.filter_overlong_prompts", None), flat.pop("data.truncation", None)
    if overlong is not True and cut in ("left", "right", "middle"):
        rows["long_prompts"] = "truncate"
        if cut != "left":
            found.notes.append(f"long prompts are cut on the left, not by `data.truncation: {cut}`")
    elif overlong is not True and cut == "error":
        rows["long_prompts"] = "stop"
    for name, own in (
        ("data.train_max_samples", "max_samples"),
        ("data.val_max_samples", "max_eval_samples"),
    ):
        most = flat.pop(name, -1)
        if isinstance(most, int) and most > 0:
            rows[own] = most
    size, questions = flat.get("data.gen_batch_size"), flat.get("data.train_batch_size", 1024)
    if isinstance(size, int) and isinstance(questions, int) and (size < 1 or questions % size):
        del flat["data.gen_batch_size"]
        found.notes.append(f"`data.gen_batch_size: {size}` left out: questions are asked as they are needed")
    for name in ("data.image_key", "data.video_key"):
        if flat.pop(name, None):
            found.todo.append(f"`{name}`: recipes read prompts of text alone")
    key = flat.pop("data.prompt_key", "prompt")
    if key != "prompt":
        found.todo.append(f"the prompts stand in the column `{key}`, and `prompt` is read: rename it")
    source = flat.pop("data.reward_fn_key", "data_source")
    if source != "data_source":
        found.todo.append(
            f"rewards get `data_source`, and the script gives them the column `{source}`: rename it"
        )
    if rows:
        found.top["rows"] = rows


def _rewards(flat: dict[str, Any], found: Translated) -> None:
    """The script's reward as a component."""
    prefix = "reward.custom_reward_function"
    path, name = flat.pop(f"{prefix}.path", None), flat.pop(f"{prefix}.name", None)
    args: dict[str, Any] = {}
    for key in [k for k in flat if k.startswith(f"{prefix}.reward_kwargs")]:
        value, last = flat.pop(key), key.removeprefix(f"{prefix}.reward_kwargs").lstrip(".")
        args |= tree.nest({last: value}) if last else value if isinstance(value, dict) else {}
    if isinstance(path, str):
        module = "".join(c if c.isalnum() else "_" for c in path.rsplit("/", 1)[-1].removesuffix(".py"))
        component: dict[str, Any] = {"fn": f"rewards.{module}.{name or 'compute_score'}"}
        found.reward_file = path
        found.todo.append(f"copy {path} to rewards/{module}.py")
    else:
        component = {"fn": DEFAULT_REWARD, "max": 1.0}
        found.notes.append(
            "without a reward function of its own verl scores by the data source; so does this recipe"
        )
    if args:
        component["args"] = args
    found.top["rewards"] = [component]
    found.top["gold_check"] = False
    found.todo.append(
        'how a right answer is written, `rows: {gold: "…{ground_truth}…"}`: with it and without '
        "`gold_check: false` the reward is checked before training"
    )
    _managers(flat, found)


def _managers(flat: dict[str, Any], found: Translated) -> None:
    """Reward managers, length penalties and reward models, which a recipe says otherwise."""
    manager = flat.get("reward.reward_manager.name")
    for key in [k for k in flat if k.startswith("reward.reward_manager.")]:
        del flat[key]
    if manager not in (None, "naive"):
        found.notes.append(f"the reward manager `{manager}` left out: `rewards:` are called by one of ours")
    buffer = "reward.reward_kwargs.overlong_buffer_cfg"
    if flat.get(f"{buffer}.enable") is True:
        length, factor = flat.get(f"{buffer}.len"), flat.get(f"{buffer}.penalty_factor")
        found.todo.append(
            f"the penalty for long answers (over the last {length} tokens, factor {factor}): "
            "a component of `rewards.length`"
        )
    for key in [k for k in flat if k.startswith("reward.reward_kwargs")]:
        del flat[key]
    model = "reward.reward_model"
    if flat.get(f"{model}.enable") is True:
        judge = flat.get(f"{model}.model_path", "a reward model")
        found.todo.append(f"{judge} judges the answers in the script: name a reward function that asks it")
    for key in [k for k in flat if k.startswith((f"{model}.", "reward.num_workers"))]:
        if key.startswith(model):
            del flat[key]


def _divide(flat: dict[str, Any], found: Translated) -> None:
    """Micro-batches that leave a rest, which verl used to allow: the next smaller ones that do not.

    A micro-batch is what a GPU takes at a time; gradients are the same whatever its size.
    """
    parallel, rollouts = _parallel(flat), flat.get(f"{ROLLOUT}.n", 1)
    questions = flat.get("data.train_batch_size", 1024)
    mini = flat.get(f"{ACTOR}.ppo_mini_batch_size", 256)
    sizes = (parallel, rollouts, questions, mini)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return
    assert parallel is not None
    for name, counted in (
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", mini),
        (f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", questions),
        (f"{REF}.log_prob_micro_batch_size_per_gpu", questions),
        (f"{CRITIC}.ppo_micro_batch_size_per_gpu", flat.get(f"{CRITIC}.ppo_mini_batch_size", mini)),
    ):
        micro = flat.get(name)
        if not isinstance(micro, int) or micro < 1 or not isinstance(counted, int):
            continue
        if counted * rollouts % parallel:
            continue
        each = counted * rollouts // parallel
        if each % micro:
            flat[name] = divisor(each, micro)
            found.notes.append(
                f"`{name}: {micro}` is {flat[name]}: it must divide the {each} answers of a GPU"
            )
