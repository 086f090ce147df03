"""Rules of lengths: prompt and answer against the model, the engine and the tokens a GPU takes."""

from __future__ import annotations

from collections.abc import Callable

from residency.engines.verl import models
from residency.engines.verl.rules.view import ACTOR, CRITIC, MODEL, REF, ROLLOUT, View

PROMPT, RESPONSE = "data.max_prompt_length", "data.max_response_length"


def model(view: View) -> None:
    """Prompt and answer fit the model's positions and the engine's `max_model_len`."""
    prompt, response = view.count(PROMPT), view.count(RESPONSE)
    longest = view.count(f"{ROLLOUT}.max_model_len")
    positions = _positions(view)
    where = view.place(view.at_first(RESPONSE, PROMPT))
    if prompt is not None and response is not None:
        total = prompt + response
        words = f"{view.said(PROMPT)} and {view.said(RESPONSE)} make {total} tokens"
        if positions is not None and total > positions:
            view.error(
                "out-of-range",
                f"{words}, and the model has {positions} positions",
                where,
                f"let them make {positions} together",
                (f"{MODEL}.path", PROMPT),
            )
        elif longest is not None and total > longest:
            view.error(
                "out-of-range",
                f"{words}, and `{ROLLOUT}.max_model_len` is {longest}: answers would be cut short",
                view.place(f"{ROLLOUT}.max_model_len"),
                f"set `{ROLLOUT}.max_model_len: {total}`, or leave it out",
                (PROMPT, RESPONSE),
            )
    if positions is not None and longest is not None and longest > positions:
        view.error(
            "out-of-range",
            f"`{ROLLOUT}.max_model_len` ({longest}) is longer than the model's {positions} positions",
            view.place(f"{ROLLOUT}.max_model_len"),
            f"set it to {positions}, or leave it out",
            (f"{MODEL}.path",),
        )


def _positions(view: View) -> int | None:
    given = view.count(f"{MODEL}.override_config.max_position_embeddings")
    if given is not None:
        return given
    name = view.text(f"{MODEL}.path")
    folder = view.find(name) if name is not None and f"{MODEL}.path" in view else None
    return models.positions(folder) if folder is not None else None


def own_lengths(view: View) -> None:
    """`rollout.prompt_length` and `response_length` follow `data` unless they are told otherwise."""
    for name, source in ((f"{ROLLOUT}.prompt_length", PROMPT), (f"{ROLLOUT}.response_length", RESPONSE)):
        own, asked = view.count(name), view.count(source)
        if name in view and own is not None and asked is not None and own != asked:
            view.error(
                "conflicting-keys",
                f"`{name}` ({own}) and {view.said(source)} contradict each other",
                view.place(name),
                "leave it out: it follows the other",
                (source,),
            )


def tokens(view: View) -> None:
    """With dynamic batches, the longest row must fit into the tokens that a GPU takes at a time."""
    prompt, response = view.count(PROMPT), view.count(RESPONSE)
    if prompt is None or response is None:
        return
    total = prompt + response
    checked = [
        (f"{ACTOR}.ppo_max_token_len_per_gpu", f"{ACTOR}.use_dynamic_bsz"),
        (f"{ROLLOUT}.log_prob_max_token_len_per_gpu", f"{ROLLOUT}.log_prob_use_dynamic_bsz"),
    ]
    if view.reference:
        checked.append((f"{REF}.log_prob_max_token_len_per_gpu", f"{REF}.log_prob_use_dynamic_bsz"))
    if view.critic:
        checked.append((f"{CRITIC}.ppo_max_token_len_per_gpu", f"{CRITIC}.use_dynamic_bsz"))
    said: set[object] = set()
    for name, switch in checked:
        size = view.count(name)
        if not view.on(switch) or size is None or size * view.sequence >= total:
            continue
        actor = f"{ACTOR}.ppo_max_token_len_per_gpu"
        where = view.at_first(name, actor, RESPONSE, PROMPT)
        if where in said:
            continue  # one that follows another's value
        said.add(where)
        view.error(
            "out-of-range",
            f"{view.said(name)} holds no row of {prompt} + {response} tokens",
            view.place(where),
            f"set `{name}: {total}` or more",
            (PROMPT, RESPONSE),
        )


RULES: tuple[Callable[[View], None], ...] = (model, own_lengths, tokens)
