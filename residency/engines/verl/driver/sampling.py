"""How one request samples, and the sampling of one token for many requests at once.

The order of operations is vLLM's, since verl's settings are written for it: repetition penalty,
temperature, top-k, top-p, min-p. A temperature of 0 is greedy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1, None),
    "presence_penalty": (0, None),
    "frequency_penalty": (0, None),
    "stop": (None, [], ()),
    "bad_words": (None, [], ()),
    "prompt_logprobs": (None, False),
    "logit_bias": (None, {}),
    "allowed_token_ids": (None,),
}
"""vLLM's parameters that this rollout does not have: the values that change nothing."""

_IRRELEVANT = frozenset(
    ("detokenize", "skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output")
)
"""Parameters about text; this rollout answers in tokens."""

_HEAD = 512
"""Top-p looks at so many of the likeliest tokens first, and sorts the vocabulary only where
they do not hold the mass: sorting 50,000 logits a token costs as much as a small model's pass."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The sampling of one request."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0: no limit."""
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end the answer; the one that ends it is part of it."""
    min_tokens: int = 0
    """No token of `stop_ids` is sampled before the answer has so many tokens."""
    log_probs: bool = False
    seed: int | None = None
    """The request's own seed; None: from the rollout's seed and the prompt."""

    @property
    def filters(self) -> bool:
        """Whether the distribution is cut by top-k, top-p or min-p."""
        return self.temperature > 0 and (self.top_k > 0 or self.top_p < 1 or self.min_p > 0)


def read_sampling(
    params: Mapping[str, Any], *, stop_ids: frozenset[int], default_tokens: int, most_tokens: int
) -> Sampling:
    """The sampling that verl asks for, in vLLM's or SGLang's names.

    Args:
        params: what the agent loop sends.
        stop_ids: the model's end-of-sequence tokens.
        default_tokens: the limit where `params` has none.
        most_tokens: what the context leaves; the limit is clamped to 1..most_tokens.

    Raises:
        ValueError: a parameter that this rollout does not know, or a value out of range.
    """
    given = dict(params)
    limit = given.pop("max_tokens", None)
    also = given.pop("max_new_tokens", None)
    limit = limit if limit is not None else also
    ends = frozenset() if given.pop("ignore_eos", False) else stop_ids
    sampling = Sampling(
        max_tokens=max(1, min(int(default_tokens if limit is None else limit), most_tokens)),
        temperature=float(given.pop("temperature", 1.0)),
        top_p=float(given.pop("top_p", 1.0)),
        top_k=max(0, int(given.pop("top_k", 0) or 0)),
        min_p=float(given.pop("min_p", 0.0) or 0.0),
        repetition_penalty=float(given.pop("repetition_penalty", 1.0)),
        stop_ids=ends | frozenset(given.pop("stop_token_ids", None) or ()),
        min_tokens=int(given.pop("min_tokens", 0) or 0),
        log_probs=given.pop("logprobs", False) not in (False, None),
        seed=given.pop("seed", None),
    )
    unknown = [
        f"{name}={value!r}"
        for name, value in given.items()
        if name not in _IRRELEVANT and not (name in _NEUTRAL and value in _NEUTRAL[name])
    ]
    if unknown:
        raise ValueError(
            f"the transformers rollout has no sampling parameter {', '.join(unknown)}; "
            "leave it out, or use rollout vllm or sglang on a GPU"
        )
    if sampling.temperature < 0 or not 0 < sampling.top_p <= 1 or not 0 <= sampling.min_p <= 1:
        raise ValueError(f"temperature must be ≥ 0, top_p in (0, 1] and min_p in [0, 1]; got {sampling}")
    if sampling.repetition_penalty <= 0:
        raise ValueError(f"repetition_penalty must be positive; got {sampling.repetition_penalty}")
    return sampling


def process_logits(
    logits: torch.Tensor, samplings: Sequence[Sampling], seen: Sequence[Sequence[int]], made: Sequence[int]
) -> torch.Tensor:
    """Logits of the distribution that is sampled from: penalised, scaled by temperature, filtered.

    Args:
        logits: (rows, vocabulary), float32.
        samplings: one a row.
        seen: the tokens of prompt and answer so far, a row; read only where a penalty is set.
        made: the number of tokens of the answer so far, a row.

    Returns:
        (rows, vocabulary), float32; −inf where a token is ruled out. `logits` is unchanged.
    """
    scale = torch.tensor([s.temperature or 1.0 for s in samplings], device=logits.device)
    out = logits.clone()
    for row, sampling in enumerate(samplings):
        if sampling.repetition_penalty != 1.0:
            ids = torch.tensor(sorted(set(seen[row])), device=logits.device)
            kept = out[row, ids]
            factor = sampling.repetition_penalty
            out[row, ids] = torch.where(kept > 0, kept / factor, kept * factor)
        if made[row] < sampling.min_tokens and sampling.stop_ids:
            out[row, list(sampling.stop_ids)] = -torch.inf
    out /= scale[:, None]
    rows = [row for row, sampling in enumerate(samplings) if sampling.filters]
    if rows:
        out[rows] = _filter(out[rows], [samplings[row] for row in rows])
    return out


def _filter(logits: torch.Tensor, samplings: Sequence[Sampling]) -> torch.Tensor:
    """`logits` with −inf outside of each row's top-k, top-p and min-p."""
    device, vocabulary = logits.device, logits.shape[1]
    top_k = torch.tensor([s.top_k or vocabulary for s in samplings], device=device)
    top_p = torch.tensor([s.top_p for s in samplings], device=device)
    min_p = torch.tensor([s.min_p for s in samplings], device=device)
    cuts_mass = any(s.top_p < 1 for s in samplings)
    width = min(vocabulary, max([s.top_k for s in samplings] + [_HEAD if cuts_mass else 1]))
    while True:
        head, _ = logits.topk(width, dim=-1)
        floor = torch.full((len(samplings),), -torch.inf, device=device)
        # top-k: the k-th likeliest logit is the least that stays
        limited = top_k < vocabulary
        kth = head.gather(1, (top_k.clamp(max=width) - 1)[:, None])[:, 0]
        floor = torch.where(limited, kth, floor)
        if not cuts_mass:
            break
        # top-p, among what top-k left: the shortest head whose mass reaches top_p
        total = torch.where(logits >= floor[:, None], logits, -torch.inf).logsumexp(-1, keepdim=True)
        mass = torch.where(head >= floor[:, None], (head - total).exp(), 0.0).cumsum(-1)
        reached = mass >= top_p[:, None] - 1e-6
        if width == vocabulary or bool((reached[:, -1] | (top_p >= 1) | limited).all()):
            last = torch.where(reached.any(-1), reached.int().argmax(-1), width - 1)
            nucleus = head.gather(1, last[:, None])[:, 0]
            floor = torch.where(top_p < 1, torch.maximum(floor, nucleus), floor)
            break
        width = vocabulary
    likeliest = logits.max(-1).values
    floor = torch.where(min_p > 0, torch.maximum(floor, likeliest + min_p.log()), floor)
    return torch.where(logits >= floor[:, None], logits, -torch.inf)


def pick(log_probs: torch.Tensor, uniform: torch.Tensor, greedy: torch.Tensor) -> torch.Tensor:
    """One token a row, by inverting the cumulative distribution; the likeliest where `greedy`.

    Args:
        log_probs: (rows, vocabulary), normalised.
        uniform: (rows,), float64 in [0, 1): the row's own random number, so that what a request
            samples does not depend on which others share its batch.
        greedy: (rows,), bool.
    """
    if bool(greedy.all()):
        return log_probs.argmax(-1)
    cumulative = log_probs.exp().cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1]
    target = torch.minimum(uniform * total, torch.nextafter(total, torch.zeros_like(total)))
    # the first token whose cumulative mass exceeds the target has a mass of its own
    sampled = torch.searchsorted(cumulative, target[:, None], right=True)[:, 0]
    return torch.where(greedy, log_probs.argmax(-1), sampled)
