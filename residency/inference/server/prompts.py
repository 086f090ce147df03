"""From what a client asks to requests that a decoder takes: tokens, limits, random numbers."""

from __future__ import annotations

import secrets
from typing import Any

from residency.inference.decoder import Request, random_numbers
from residency.inference.sampling import Sampling
from residency.inference.server.asked import Asked, Refused
from residency.inference.server.settings import Settings

TOO_LONG = "context_length_exceeded"
"""OpenAI's code for a prompt that does not fit."""


def make(
    asked: Asked,
    tokenizer: Any,
    settings: Settings,
    *,
    context: int,
    stop_ids: frozenset[int],
    vocabulary: int,
) -> list[Request]:
    """A request for each answer: all of the first prompt, then all of the second.

    Random numbers follow from the seed, the prompt and the answer's place, not from who else is asked.

    Raises:
        Refused: a prompt that is too long, or cannot be read.
    """
    if asked.n > settings.max_n:
        raise Refused(400, f"`n` is {asked.n:,}; at most {settings.max_n:,} are taken", "n")
    made: list[Request] = []
    seed = asked.seed if asked.seed is not None else secrets.randbits(63)
    for ids in _tokens(asked, tokenizer, vocabulary):
        most = _room(len(ids), asked, settings, context)
        sampling = Sampling(
            max_tokens=most,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            min_p=asked.min_p,
            repetition_penalty=asked.repetition_penalty,
            stop_ids=(frozenset() if asked.ignore_eos else stop_ids) | frozenset(asked.stop_token_ids),
            min_tokens=min(asked.min_tokens, most),
        )
        for at in range(asked.n):
            made.append(
                Request(
                    ids,
                    sampling,
                    random_numbers(most, ids, seed, at),
                    top=asked.top,
                    score_prompt=asked.echo and asked.top is not None,
                )
            )
    if len(made) > settings.queue:
        raise Refused(400, f"{len(made):,} answers are asked of one request; {settings.queue:,} at most", "n")
    return made


def _room(prompt: int, asked: Asked, settings: Settings, context: int) -> int:
    """Tokens that the answer may have."""
    wanted = asked.max_tokens
    if settings.max_tokens is not None and (wanted or 0) > settings.max_tokens:
        raise Refused(
            400, f"`max_tokens` is {wanted:,}; at most {settings.max_tokens:,} are made", "max_tokens"
        )
    key = "messages" if asked.messages else "prompt"
    if wanted == 0:  # a prompt that is only scored
        if prompt > context:
            raise Refused(400, _long(prompt, 0, context), key, TOO_LONG)
        return 1
    if prompt + (wanted or 1) > context:
        raise Refused(400, _long(prompt, wanted or 0, context), key, TOO_LONG)
    if wanted is None:
        wanted = context - prompt
        if settings.max_tokens is not None:
            wanted = min(wanted, settings.max_tokens)
    return wanted


def _long(prompt: int, answer: int, context: int) -> str:
    also = f" and `max_tokens` is {answer:,}" if answer else ""
    return f"the model's context is {context:,} tokens; the prompt has {prompt:,}{also}"


def _tokens(asked: Asked, tokenizer: Any, vocabulary: int) -> list[list[int]]:
    """The tokens of each prompt."""
    if asked.messages:
        text = _templated(asked, tokenizer)
        found = [_encode(text, tokenizer, special=False)]
    else:
        found = [
            _encode(p, tokenizer, special=asked.add_special_tokens) if isinstance(p, str) else list(p)
            for p in asked.prompts
        ]
    for at, ids in enumerate(found):
        where = "messages" if asked.messages else "prompt" if len(found) == 1 else f"prompt[{at}]"
        if not ids:
            raise Refused(400, f"`{where}` is empty: it has no token", where)
        if max(ids) >= vocabulary:
            raise Refused(400, f"`{where}`: the model has no token {max(ids)}", where)
    return found


def _encode(text: str, tokenizer: Any, *, special: bool) -> list[int]:
    try:
        # Said once, at the answer, and not by a warning of the tokenizer's.
        return list(tokenizer(text, add_special_tokens=special, verbose=False)["input_ids"])
    except (TypeError, UnicodeError, ValueError) as error:
        raise Refused(400, f"the text cannot be read as tokens: {error}") from None


def _templated(asked: Asked, tokenizer: Any) -> str:
    """The messages as the model's chat template writes them."""
    from jinja2 import TemplateError

    if tokenizer.chat_template is None:
        raise Refused(400, "the model has no chat template; use /v1/completions", "messages")
    try:
        text = tokenizer.apply_chat_template(list(asked.messages), tokenize=False, **(asked.template or {}))
    except (TemplateError, ValueError, TypeError, KeyError) as error:
        raise Refused(400, f"the model's chat template refuses the messages: {error}", "messages") from None
    return str(text)
