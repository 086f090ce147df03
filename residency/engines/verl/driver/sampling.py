"""How one request of verl's samples, read from what its agent loops send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from residency.inference.sampling import Sampling

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
