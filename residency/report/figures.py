"""The figures that a training logs, in words that a reader understands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from residency.report import wording


@dataclass(frozen=True, slots=True)
class Figure:
    """How one figure is named."""

    title: str
    """Over a chart."""
    short: str
    """On a line of progress: `length {}`."""
    share: bool = False
    """True for a share, which a line of progress shows in percent."""


RLVR: dict[str, Figure] = {
    "reward": Figure("reward", "reward {}"),
    "unavailable": Figure("answers without a reward, share", "no reward for {}", share=True),
    "zero_variance_groups": Figure("flat groups, share", "flat groups {}", share=True),
    "response_length": Figure("answer length, tokens", "length {}"),
    "kl": Figure("KL from the reference model", "KL {}"),
    "tokens_per_second": Figure("tokens a second and GPU", "{} tokens/s"),
    "entropy": Figure("entropy, nats a token", "entropy {}"),
    "clip_fraction": Figure("clipped tokens, share", "clipped {}", share=True),
    "response_cut": Figure("answers cut at the limit, share", "cut {}", share=True),
    "grad_norm": Figure("gradient norm", "gradient {}"),
    "policy_kl": Figure("KL from the policy that gave the answers", "policy KL {}"),
    "reward_less_kl": Figure("reward that is learnt from", "learnt from {}"),
    "value_loss": Figure("critic's loss", "critic {}"),
    "value_explained": Figure("variance that the critic explains, share", "explained {}", share=True),
    "turns": Figure("turns a dialogue", "turns {}"),
    "learning_rate": Figure("learning rate", "lr {}"),
    "step_seconds": Figure("seconds a step", "{} s/step"),
}
"""Figures of reinforcement learning, as metrics.jsonl names them; docs/rlvr.md says what each means."""
PROGRESS = (
    "reward",
    "unavailable",
    "zero_variance_groups",
    "response_length",
    "kl",
    "tokens_per_second",
)
"""Those on a line of progress, most telling first."""

FIRST = ("loss", "eval_loss", "reward")
"""Figures of any other training that are named first; the others follow in the engine's order."""
UNTOLD = ("step", "total", "seconds", "epoch")
"""Figures that the step and the time already tell."""


def said(found: Mapping[str, float], most: int = 4) -> list[str]:
    """The latest figures, a few words each: `loss 0.4123`, `flat groups 25%`.

    Those of reinforcement learning are told as far as they are there; of others `most`.
    """
    if "reward" in found:
        keys = [key for key in PROGRESS if key in found and (key != "unavailable" or found[key])]
        return [_short(RLVR[key], found[key]) for key in keys]
    keys = [k for k in FIRST if k in found] + [k for k in found if k not in (*FIRST, *UNTOLD)]
    return [f"{key} {wording.number(found[key])}" for key in keys[:most]]


def _short(figure: Figure, value: float) -> str:
    if figure.share:
        shown = f"{value:.0%}" if value >= 0.01 or not value else f"{value:.1%}"
    else:
        shown = wording.number(value, 3)
    return figure.short.format(shown)


def title(key: str) -> str:
    """A figure's name over a chart."""
    return RLVR[key].title if key in RLVR else key.replace("_", " ")


def packed(parts: list[str], width: int, gap: str = " · ") -> list[str]:
    """The parts on as few lines as hold them, none wider than `width` unless one part is."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(gap) + len(part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines
