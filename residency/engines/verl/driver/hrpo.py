"""HRPO: advantages relative to the mean of prompts of the same number of hops, one rollout a prompt.

For a prompt i of h hops among the batch's prompts I_h of that many,
A_i = (r_i − mean_{I_h} r) / sqrt(var_{I_h} r + δ), var over the population (divided by |I_h|);
a prompt that is alone in its group has advantage 0. Source: "Dr. Zero", arXiv 2601.07055,
equations 2 and 3, where the policy gradient has no ratio clipping and no KL term.
The paper's released code differs: it adds ε = 1e-6 to the sample's standard deviation, and gives a
singleton its raw reward.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from verl.trainer.ppo.core_algos import register_adv_est

from residency.engines.verl.driver import batch

NAME = "hrpo"
DELTA = 1e-6


def advantages(rewards: torch.Tensor, groups: Sequence[Hashable], delta: float = DELTA) -> torch.Tensor:
    """The advantage of each sample.

    Args:
        rewards: Shape (batch,): the whole reward of each sample.
        groups: Its number of hops, or whatever else groups it; as many as rewards.
        delta: Added to the variance.

    Returns:
        Shape (batch,), of the dtype of `rewards`.
    """
    found = torch.zeros_like(rewards)
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    for places in members.values():
        if len(places) < 2:
            continue
        of_group = rewards[places]
        spread = torch.sqrt(of_group.var(correction=0) + delta)
        found[places] = (of_group - of_group.mean()) / spread
    return found


@register_adv_est(NAME)
def hrpo(
    token_level_rewards: torch.Tensor,
    response_mask: torch.Tensor,
    index: Sequence[str],
    config: Any = None,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """verl's form of it: (batch, length) in, advantages and returns of the same shape out.

    `index` holds each sample's prompt id, whose group the trainer has noted; δ is
    `algorithm.hrpo_delta` where the recipe sets it.
    """
    delta = float(config.get("hrpo_delta", DELTA)) if config is not None else DELTA
    with torch.no_grad():
        scores = token_level_rewards.sum(dim=-1)
        found = advantages(scores, [batch.group_of(uid) for uid in index], delta)
        spread = found.unsqueeze(-1) * response_mask
    return spread, spread
