"""Rules of the advantage estimator, the critic, KL and the policy loss."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl.rules.view import ACTOR, CRITIC, ROLLOUT, View
from residency.recipe.suggest import closest

ESTIMATORS = (
    "gae",
    "grpo",
    "grpo_vectorized",
    "grpo_passk",
    "gdpo",
    "gpg",
    "opo",
    "optimal_token_baseline",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "remax",
    "rloo",
    "rloo_vectorized",
    "tir_optimal_token_baseline",
)
"""What verl 0.9.1 registers."""
OURS = ("hrpo",)
GROUPED = frozenset(
    {
        "grpo",
        "grpo_vectorized",
        "grpo_passk",
        "gpg",
        "opo",
        "reinforce_plus_plus_baseline",
        "rloo",
        "rloo_vectorized",
    }
)
"""Estimators that hold the answers to one question against each other."""
_NO_SQUARES = "does not hand over the squares of the policy's probabilities"
UNFED = {
    "remax": "makes no greedy baseline",
    "gdpo": "hands over no rewards apart",
    "optimal_token_baseline": _NO_SQUARES,
    "tir_optimal_token_baseline": _NO_SQUARES,
}
"""Estimators that ask for what verl 0.9.1's trainer does not give them → what that is."""
LOSSES = (
    "vanilla",
    "dppo_tv",
    "dppo_kl",
    "gspo",
    "sapo",
    "gpg",
    "clip_cov",
    "kl_cov",
    "geo_mean",
    "dro",
    "cispo",
    "bypass_mode",
)
"""Policy losses that verl 0.9.1 registers."""
KL = ("kl", "k1", "abs", "mse", "k2", "low_var_kl", "k3")
"""KL estimates; each but `mse` and `k2` may end with `+`."""
N = f"{ROLLOUT}.n"
ESTIMATOR = "algorithm.adv_estimator"


def estimator(view: View) -> None:
    """The estimator is one that there is, and the number of rollouts fits it."""
    name = view.estimator
    if name is None:
        return
    if ESTIMATOR not in view:
        if name == "gae" and not view.under(CRITIC):
            view.warn(
                "unusual-value",
                "no `algorithm.adv_estimator`: verl's default is `gae`, PPO with a critic",
                view.key(ESTIMATOR),
                "add `algorithm.adv_estimator: grpo`, or `gae` to mean it",
            )
    elif name not in (*ESTIMATORS, *OURS) and "actor_rollout_ref.model.external_lib" not in view:
        near = closest(name, (*ESTIMATORS, *OURS))
        hint = f"did you mean `{near[0]}`?" if near else "choose from " + ", ".join((*ESTIMATORS, *OURS))
        view.error(
            "not-a-choice",
            f"`algorithm.adv_estimator` cannot be `{name}`",
            view.place(ESTIMATOR),
            hint,
        )
        return
    if name in UNFED:
        view.error(
            "unsupported-stage",
            f"`{name}` does not work with verl's v1 trainer, which {UNFED[name]}",
            view.place(ESTIMATOR),
            "use `rloo` or `grpo`",
        )
        return
    _rollouts(view, name)


def _rollouts(view: View, name: str) -> None:
    rollouts = view.number(N)
    if rollouts is None:
        return
    if name in GROUPED and rollouts == 1:
        where = view.place(N) if N in view else view.place(ESTIMATOR)
        given = "" if N in view else ", the default"
        view.error(
            "conflicting-keys",
            f"`{name}` holds the answers to one question against each other, and `{N}` is 1{given}: "
            "there is nothing to compare, and no baseline",
            where,
            f"set `{N}: 4` or more, or use `hrpo` or `reinforce_plus_plus`",
            (ESTIMATOR,),
        )
    if name == "hrpo":
        if rollouts != 1:
            view.error(
                "conflicting-keys",
                f"`hrpo` takes one rollout a question, and `{N}` is {rollouts:g}",
                view.place(N),
                f"set `{N}: 1`; questions of one group are compared with each other",
                (ESTIMATOR,),
            )
        rows = view.own("rows")
        if not (isinstance(rows, dict) and rows.get("group")) and not _parquet(view):
            view.error(
                "missing-key",
                "`hrpo` compares questions of one group, and nothing says which column groups them",
                view.place(ESTIMATOR),
                "add `rows: {group: COLUMN}`",
            )


def _parquet(view: View) -> bool:
    """True when the data may be verl's own files, whose rows may name their group."""
    asked = view.own("dataset")
    names = asked if isinstance(asked, list) else [asked]
    return any(name is None or str(name).endswith(".parquet") for name in names)


def critic(view: View) -> None:
    """Critic keys where there is no critic, and the other way round."""
    if view.estimator is None:
        return
    if view.estimator == "gae" and not view.critic:
        view.error(
            "conflicting-keys",
            "`gae` needs a critic, and `critic.enable` is off",
            view.place("critic.enable"),
            "leave out `critic.enable`, or use `algorithm.adv_estimator: grpo`",
            (ESTIMATOR,),
        )
    if view.critic:
        return
    written = [key for key in view.under(CRITIC) if key.name != "critic.enable"]
    if written:
        more = f", nor have {len(written) - 1} more" if len(written) > 1 else ""
        view.warn(
            "unused-key",
            f"`{written[0].name}` has no effect{more}: `{view.estimator}` trains no critic",
            written[0].span,
            "leave `critic` out, or use `algorithm.adv_estimator: gae`",
            (ESTIMATOR,),
        )


def kl(view: View) -> None:
    """KL in the loss or in the reward, and its keys where it is on."""
    in_loss, in_reward = f"{ACTOR}.use_kl_loss", "algorithm.use_kl_in_reward"
    if view.on(in_loss) and view.on(in_reward):
        view.error(
            "conflicting-keys",
            "KL stands in the loss and in the reward: it would count twice",
            view.place(in_reward),
            "keep `use_kl_loss` for GRPO, `use_kl_in_reward` for PPO and RLOO",
            (in_loss,),
        )
    for switch, names in (
        (in_loss, (f"{ACTOR}.kl_loss_coef", f"{ACTOR}.kl_loss_type")),
        (
            in_reward,
            ("algorithm.kl_penalty", *(f"algorithm.kl_ctrl.{k}" for k in ("kl_coef", "type", "horizon"))),
        ),
    ):
        for name in names:
            if name in view and view.get(switch) is False and view.get(name) != 0:
                view.warn(
                    "unused-key",
                    f"`{name}` has no effect: `{switch}` is off",
                    view.key(name),
                    f"set `{switch}: true`, or leave it out",
                    (switch,),
                )
    for name in (f"{ACTOR}.kl_loss_type", "algorithm.kl_penalty"):
        kind = view.text(name)
        if kind is not None and name in view and (kind[:-1] if kind.endswith("+") else kind) not in KL:
            near = closest(kind, KL)
            hint = f"did you mean `{near[0]}`?" if near else "choose from " + ", ".join(KL)
            view.error("not-a-choice", f"`{name}` cannot be `{kind}`", view.place(name), hint)
    coefficient = view.number(f"{ACTOR}.kl_loss_coef")
    if view.on(in_loss) and coefficient == 0:
        view.warn(
            "unusual-value",
            "`use_kl_loss` with a coefficient of 0 costs a reference model and does nothing",
            view.place(view.at_first(f"{ACTOR}.kl_loss_coef", in_loss)),
            f"set `{in_loss}: false`",
        )
    horizon = view.number("algorithm.kl_ctrl.horizon")
    if view.get("algorithm.kl_ctrl.type") == "adaptive" and horizon is not None and horizon <= 0:
        view.error(
            "out-of-range",
            "`kl_ctrl.horizon` must be more than 0 for an adaptive KL",
            view.place("algorithm.kl_ctrl.horizon"),
            "verl's default is 10000",
        )


def loss(view: View) -> None:
    """The policy loss is one that there is."""
    name = f"{ACTOR}.policy_loss.loss_mode"
    mode = view.text(name)
    if mode is None or "actor_rollout_ref.model.external_lib" in view:
        return
    if mode not in LOSSES:
        near = closest(mode, LOSSES)
        hint = f"did you mean `{near[0]}`?" if near else "choose from " + ", ".join(LOSSES)
        view.error("not-a-choice", f"`{name}` cannot be `{mode}`", view.place(name), hint)
    beta = view.number(f"{ACTOR}.policy_loss.dro_beta")
    if mode == "dro" and (beta is None or beta <= 0):
        view.error(
            "missing-key",
            "`loss_mode: dro` needs `policy_loss.dro_beta`, above 0",
            view.place(view.at_first(f"{ACTOR}.policy_loss.dro_beta", name)),
            f"add `{ACTOR}.policy_loss.dro_beta: …`",
        )


RULES: tuple[Callable[[View], None], ...] = (estimator, critic, kl, loss)
