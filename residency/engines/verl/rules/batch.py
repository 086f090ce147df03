"""Batches, mini-batches and micro-batches against each other, rollouts and ranks.

One step takes `data.train_batch_size` questions with `rollout.n` answers each; a mini-batch counts
questions too, a micro-batch counts answers on one GPU. verl's workers split evenly and refuse a rest
(`train_mini_batch`, `prepare_micro_batches`).
"""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl.rules.view import ACTOR, CRITIC, REF, ROLLOUT, View

TRAIN, N = "data.train_batch_size", f"{ROLLOUT}.n"
DYNAMIC = f"{ACTOR}.use_dynamic_bsz"
CODE = "batch-mismatch"


def train_batch(view: View) -> None:
    """Questions × rollouts are spread evenly over the ranks."""
    questions, rollouts, ranks = view.count(TRAIN), view.count(N), view.ranks
    if questions is None or rollouts is None or view.get(DYNAMIC) is not False:
        return
    if questions * rollouts % ranks:
        view.error(
            CODE,
            f"{view.said(TRAIN)} times {view.said(N)} is {questions * rollouts}, "
            f"which {ranks} GPUs cannot share evenly",
            view.place(view.at_first(TRAIN, N, "trainer.n_gpus_per_node")),
            f"make it a multiple of {ranks}",
            (N, "trainer.n_gpus_per_node", "trainer.nnodes"),
        )


def mini_batch(view: View) -> None:
    """A mini-batch divides the batch, and its answers are spread evenly over the ranks."""
    _mini(view, ACTOR)
    if view.critic and f"{CRITIC}.ppo_mini_batch_size" in view:
        _mini(view, CRITIC)


def _mini(view: View, block: str) -> None:
    name = f"{block}.ppo_mini_batch_size"
    questions, mini, rollouts = view.count(TRAIN), view.count(name), view.count(N)
    if questions is None or mini is None:
        return
    where, beside = view.place(view.at_first(name, TRAIN)), (TRAIN,) if name in view else ()
    if mini > questions:
        view.error(
            CODE,
            f"{view.said(name)} is larger than {view.said(TRAIN)}",
            where,
            f"set `{name}: {questions}` or a divisor of it",
            beside,
        )
        return
    if questions % mini:
        view.error(
            CODE,
            f"{view.said(name)} does not divide {view.said(TRAIN)}",
            where,
            f"set `{name}: {divisor(questions, mini)}`",
            beside,
        )
    if rollouts is not None and mini * rollouts % view.parallel:
        view.error(
            CODE,
            f"{view.said(name)} times {view.said(N)} is {mini * rollouts}, "
            f"which {view.parallel} GPUs cannot share evenly",
            where,
            f"make it a multiple of {view.parallel}",
            (N, "trainer.n_gpus_per_node"),
        )


def micro_batch(view: View) -> None:
    """Without dynamic batches each model is told how many answers a GPU takes at a time."""
    missing = []
    for name, switch, mini in _sizes(view):
        if view.get(switch) is not False:
            continue
        if name in view.keys or view.get(name) is not None:
            _micro(view, name, mini)
        elif name.removesuffix("_per_gpu") not in view:  # else said by the rule of old keys
            missing.append(name)
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        view.error(
            "missing-key",
            f"nothing says how many answers a GPU takes at a time: {names}",
            view.key(DYNAMIC),
            f"add `{DYNAMIC}: true`, or {'them' if len(missing) > 1 else 'it'}",
        )


def _micro(view: View, name: str, mini: str) -> None:
    micro, counted, rollouts = view.count(name), view.count(mini), view.count(N)
    if micro is None or counted is None or rollouts is None or counted * rollouts % view.parallel:
        return
    each = counted * rollouts // view.parallel
    if each % micro:
        view.error(
            CODE,
            f"{view.said(name)} does not divide the {each} answers that a GPU has "
            f"({counted} questions × {rollouts} / {view.parallel})",
            view.place(view.at_first(name, mini, N)),
            f"set `{name}: {divisor(each, micro)}`",
            (mini, N),
        )


def _sizes(view: View) -> list[tuple[str, str, str]]:
    """(micro-batch, the switch that makes it dynamic, what it divides) of every model that there is."""
    found = [
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", DYNAMIC, f"{ACTOR}.ppo_mini_batch_size"),
        (f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", f"{ROLLOUT}.log_prob_use_dynamic_bsz", TRAIN),
    ]
    if view.reference:
        found.append((f"{REF}.log_prob_micro_batch_size_per_gpu", f"{REF}.log_prob_use_dynamic_bsz", TRAIN))
    if view.critic:
        found.append(
            (
                f"{CRITIC}.ppo_micro_batch_size_per_gpu",
                f"{CRITIC}.use_dynamic_bsz",
                f"{CRITIC}.ppo_mini_batch_size",
            )
        )
    return found


def dynamic(view: View) -> None:
    """The actor's worker is one for training and log-probs: both dynamic, or neither."""
    name = f"{ROLLOUT}.log_prob_use_dynamic_bsz"
    training, scoring = view.get(DYNAMIC), view.get(name)
    if isinstance(training, bool) and isinstance(scoring, bool) and training != scoring:
        view.error(
            "conflicting-keys",
            f"{view.said(DYNAMIC)} and {view.said(name)} must be the same",
            view.place(view.at_first(name, DYNAMIC)),
            f"leave out `{name}`, which follows the other",
            (DYNAMIC, name),
        )


def generation(view: View) -> None:
    """A batch is fetched in whole pieces."""
    size, questions = view.count("data.gen_batch_size"), view.count(TRAIN)
    if size is not None and questions is not None and questions % size:
        view.error(
            CODE,
            f"{view.said('data.gen_batch_size')} does not divide {view.said(TRAIN)}",
            view.place(view.at_first("data.gen_batch_size", TRAIN)),
            f"set it to {divisor(questions, size)}, or leave it out",
            (TRAIN,),
        )


def asynchronous(view: View) -> None:
    """What the trainer with rollout GPUs of its own asks for."""
    mode = view.get("trainer.v1.trainer_mode")
    if mode != "separate_async":
        return
    where = view.place("trainer.v1.trainer_mode")
    sync, mini = (
        view.count("trainer.v1.separate_async.parameter_sync_step"),
        view.count(f"{ACTOR}.ppo_mini_batch_size"),
    )
    questions = view.count(TRAIN)
    if None not in (sync, mini, questions) and questions != (sync or 0) * (mini or 0):
        view.error(
            CODE,
            f"`separate_async` needs `{TRAIN}` ({questions}) = `parameter_sync_step` ({sync}) × "
            f"`ppo_mini_batch_size` ({mini})",
            view.place(view.at_first(TRAIN, "trainer.v1.trainer_mode")),
            f"set `{TRAIN}: {(sync or 0) * (mini or 0)}`",
            ("trainer.v1.trainer_mode",),
        )
    if not view.count(f"{ROLLOUT}.nnodes"):
        view.error(
            "missing-key",
            "`separate_async` needs nodes for the rollout",
            where,
            f"add `{ROLLOUT}.nnodes: 1` and `{ROLLOUT}.n_gpus_per_node: …`",
        )
    if view.get(f"{ROLLOUT}.checkpoint_engine.backend") == "naive":
        view.error(
            "conflicting-keys",
            "`separate_async` cannot hand weights over with `checkpoint_engine.backend: naive`",
            view.place(view.at_first(f"{ROLLOUT}.checkpoint_engine.backend", "trainer.v1.trainer_mode")),
            f"set `{ROLLOUT}.checkpoint_engine.backend: nccl`",
        )


def divisor(whole: int, wanted: int) -> int:
    """The largest divisor of `whole` that is at most `wanted`."""
    return next(size for size in range(min(wanted, whole), 0, -1) if whole % size == 0)


RULES: tuple[Callable[[View], None], ...] = (
    train_batch,
    mini_batch,
    micro_batch,
    dynamic,
    generation,
    asynchronous,
)
