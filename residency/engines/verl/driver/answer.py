"""The model's own words in a rollout of several turns.

verl puts everything after the prompt into one sequence of response tokens: what the model wrote,
what the tools answered, and the template's tokens between them. `response_mask` is 1 for the
model's own tokens and 0 for all others; a run of ones is a turn. verl's reward managers decode the
whole sequence, so that a search result that holds the answer would be rewarded as an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

TURNS = "turns"
"""The key of `extra_fields` under which a rollout with tools carries its turns."""


def turns(response_ids: Any, response_mask: Any, tokenizer: Any) -> list[str]:
    """What the model wrote, one text a turn, special tokens left out.

    Args:
        response_ids: The response's token ids, (tokens,), a list or a tensor.
        response_mask: 1 for each token that the model wrote, of the same length.
        tokenizer: The policy's.

    Raises:
        ValueError: The two are not of one length.
    """
    ids, mask = _plain(response_ids), _plain(response_mask)
    if len(ids) != len(mask):
        raise ValueError(f"{len(ids)} response tokens, but a mask of {len(mask)}")
    found = []
    at = 0
    for own, run in groupby(mask, key=bool):
        end = at + len(list(run))
        if own:
            found.append(str(tokenizer.decode(ids[at:end], skip_special_tokens=True)))
        at = end
    return found


def own_text(response_ids: Any, response_mask: Any, tokenizer: Any) -> str:
    """The model's last turn, "" when it wrote nothing: what rewards are given. Arguments as `turns`."""
    return (turns(response_ids, response_mask, tokenizer) or [""])[-1]


def answer_of(
    response_ids: Any, extra_fields: Mapping[str, Any] | None, tokenizer: Any
) -> tuple[str, list[str]]:
    """The answer to be rewarded and all of the model's turns, as a reward manager can have them.

    A reward manager is not given the mask; `tool_loop` leaves the turns in the rollout's extra
    fields. Without them the rollout is one turn: the whole response.

    Args:
        response_ids: The response's token ids without padding.
        extra_fields: `tool_extra_fields` of the sample, or None.
        tokenizer: The policy's.
    """
    known = (extra_fields or {}).get(TURNS)
    if known is None:
        known = [tokenizer.decode(_plain(response_ids), skip_special_tokens=True)]
    found = [str(turn) for turn in known]
    return (found or [""])[-1], found


def _plain(values: Any) -> Sequence[int]:
    return values.tolist() if hasattr(values, "tolist") else list(values)
