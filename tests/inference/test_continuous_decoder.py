"""Requests that join and leave between two tokens are answered as if each were alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.inference import decoder as decoders
from residency.inference.decoder import Decoder, Numbers, Request
from residency.inference.sampling import Sampling
from residency.inference.slots import Slots, prompt_cache

EOS = frozenset((2,))


def request(prompt: list[int], tokens: int = 16, seed: int = 0, **more: Any) -> Request:
    top, score = more.pop("top", None), more.pop("score", False)
    sampling = Sampling(max_tokens=tokens, **{"temperature": 0.0, "stop_ids": EOS, **more})
    return Request(prompt, sampling, Numbers(prompt, seed), top=top, score_prompt=score)


def prompts(count: int, seed: int = 0, longest: int = 60) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(3, 280) for _ in range(rng.randrange(1, longest))] for _ in range(count)]


def run(decoder: Decoder, requests: list[Request], seed: int = 0) -> list[Request]:
    """Let the requests join one by one or together, at random moments."""
    rng = random.Random(seed)
    waiting, finished = list(requests), []
    while waiting or decoder.running:
        count = rng.randrange(0, 4)
        joining, waiting = waiting[:count], waiting[count:]
        if joining:
            finished += decoder.admit(joining)
        finished += decoder.step()
    return finished


@pytest.mark.parametrize("order", [0, 1, 2])
def test_greedy_answers_are_those_of_generate_alone(loaded: Any, alone: Any, order: int) -> None:
    asked = prompts(14, seed=order)
    lengths = [1 + (at * 7) % 23 for at in range(len(asked))]
    requests = [request(p, n) for p, n in zip(asked, lengths, strict=True)]
    finished = run(Decoder(loaded.model, prefill_tokens=100), requests, seed=order)
    assert sorted(map(id, finished)) == sorted(map(id, requests))
    assert [r.tokens for r in requests] == [alone(p, n) for p, n in zip(asked, lengths, strict=True)]


def test_several_answers_to_one_prompt_share_its_reading(loaded: Any) -> None:
    (prompt,) = prompts(1)
    asked = [request(prompt, 12, seed, temperature=1.0, stop_ids=frozenset()) for seed in range(4)]
    calls: list[tuple[int, ...]] = []
    hook = loaded.model.get_input_embeddings().register_forward_hook(
        lambda module, given, made: calls.append(tuple(given[0].shape))
    )
    try:
        run(Decoder(loaded.model), asked[:], seed=9)
        together = Decoder(loaded.model)
        calls.clear()
        again = [request(prompt, 12, seed, temperature=1.0, stop_ids=frozenset()) for seed in range(4)]
        together.admit(again)
    finally:
        hook.remove()
    assert calls == [(1, len(prompt))]
    while together.running:
        together.step()
    # The same random numbers whoever else is there, so the same answers.
    assert [r.tokens for r in again] == [r.tokens for r in asked]
    assert len({tuple(r.tokens) for r in again}) > 1


def test_an_answer_that_nobody_waits_for_leaves(loaded: Any, alone: Any) -> None:
    asked = prompts(3)
    requests = [request(p, 20) for p in asked]
    decoder = Decoder(loaded.model)
    decoder.admit(requests)
    decoder.step()
    requests[0].ended = True
    assert decoder.leave() == [requests[0]]
    while decoder.running:
        decoder.step()
    assert [len(r.tokens) for r in requests] == [2, 20, 20]
    assert requests[2].tokens == alone(asked[2], 20)


def test_an_answer_that_is_put_back_goes_on_where_it_was(loaded: Any) -> None:
    asked = prompts(3, seed=8)

    def make() -> list[Request]:
        how = {"temperature": 1.0, "top": 1, "score": True, "stop_ids": frozenset()}
        return [request(p, 12, at, **how) for at, p in enumerate(asked)]

    whole, parted = make(), make()
    run(Decoder(loaded.model), whole)
    decoder = Decoder(loaded.model)
    decoder.admit(parted)
    for at in range(30):
        if at % 3 == 1 and len(decoder.running) > 1:
            back = decoder.running[-1]
            decoder.put_back(back)
            decoder.step()
            decoder.admit([back])
        else:
            decoder.step()
    for one, other in zip(whole, parted, strict=True):
        assert other.tokens == one.tokens
        assert other.log_probs == pytest.approx(one.log_probs, abs=1e-4)
        assert other.prompt_log_probs == pytest.approx(one.prompt_log_probs, abs=1e-4)


def test_every_token_of_a_prompt_is_scored_in_parts(
    loaded: Any, alone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = prompts(4, seed=5)
    vocabulary = loaded.model.config.vocab_size
    monkeypatch.setattr(decoders, "_LOGITS", 8 * vocabulary)  # eight places at a time
    requests = [request(p, 3, top=2, score=True) for p in asked]
    run(Decoder(loaded.model), requests)
    for prompt, found in zip(asked, requests, strict=True):
        whole = [*prompt, *found.tokens[:-1]]
        want = alone.model(torch.tensor([whole])).logits[0].detach().log_softmax(-1)
        values = [*found.prompt_log_probs, *found.log_probs]
        following = [*prompt[1:], *found.tokens]
        for place, (value, token) in enumerate(zip(values, following, strict=True)):
            assert value == pytest.approx(float(want[place, token]), abs=1e-5)
        tops = [*found.prompt_tops, *found.tops]
        assert [top[0][0] for top in tops] == want.argmax(-1).tolist()
        assert all(len(top) == 2 for top in tops)
        assert found.tokens == alone(prompt, 3)


def test_temperature_and_filters(loaded: Any) -> None:
    (prompt,) = prompts(1, seed=3)
    greedy, likeliest = request(prompt, 8), request(prompt, 8, temperature=1.0, top_k=1)
    run(Decoder(loaded.model), [greedy, likeliest])
    assert greedy.tokens == likeliest.tokens


@pytest.mark.parametrize(
    "kinds", [None, ["full_attention", "sliding_attention"] * 2, ["sliding_attention"] * 4]
)
def test_layers_that_look_back_over_a_window(kinds: list[str] | None) -> None:
    from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM

    shape = {
        "vocab_size": 100, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 256,
        "eos_token_id": None, "bos_token_id": None, "pad_token_id": None, "sliding_window": 7,
    }  # fmt: skip
    torch.manual_seed(0)
    model: Any
    if kinds is None:
        model = MistralForCausalLM(MistralConfig(**shape)).eval()
    else:
        config = Qwen2Config(**shape, use_sliding_window=True, layer_types=kinds)
        model = Qwen2ForCausalLM(config).eval()
    asked = [[at % 97 for at in range(3, 3 + n)] for n in (2, 30, 11)]
    want = [
        model.generate(torch.tensor([p]), max_new_tokens=20, do_sample=False)[0, len(p) :].tolist()
        for p in asked
    ]
    requests = [request(p, 20, stop_ids=frozenset()) for p in asked]
    run(Decoder(model), requests)
    assert [r.tokens for r in requests] == want
    scored = [request(p, 1, stop_ids=frozenset(), score=True, top=0) for p in asked]
    Decoder(model).admit(scored)
    for prompt, found in zip(asked, scored, strict=True):
        log_probs = model(torch.tensor([prompt])).logits[0].detach().log_softmax(-1)
        values = [float(log_probs[at, token]) for at, token in enumerate(prompt[1:])]
        assert found.prompt_log_probs == pytest.approx(values, abs=1e-4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=40))
@settings(max_examples=60)
def test_rows_keep_what_is_theirs(steps: list[tuple[bool, int]]) -> None:
    """Whatever joins, grows and leaves: a row holds the tokens of its request and no other's."""
    slots = Slots("cpu")
    held: list[list[float]] = []
    next_mark = 1.0

    def states(marks: list[list[float]]) -> torch.Tensor:
        return torch.tensor(marks)[:, None, :, None].expand(-1, 2, -1, 4).clone()

    for joins, number in steps:
        if joins:
            marks = [next_mark + at / 100 for at in range(number % 9 + 1)]
            next_mark += 1
            cache = prompt_cache()
            cache.update(states([marks]), -states([marks]), 0)
            copies = number % 3 + 1
            slots.add(cache, [0] * copies, [len(marks)] * copies)
            held += [list(marks) for _ in range(copies)]
        elif held:
            cache, places, seen = slots.begin()
            assert places[:, 0].tolist() == [len(row) for row in held]
            fresh = [[next_mark + at / 100] for at in range(len(held))]
            next_mark += 1
            keys, values = cache.update(states(fresh), -states(fresh), 0)
            slots.end()
            for row, mark in zip(held, fresh, strict=True):
                row += mark
            for at, row in enumerate(held):
                kept = keys[at, 0, :, 0][seen[at, 0, 0]]
                assert kept.tolist() == pytest.approx(row)
                assert torch.equal(values[at], -keys[at])
            gone = sorted({number % len(held), (number * 7) % len(held)}) if number % 2 else []
            order = slots.remove(gone)
            held = [held[at] for at in order]
    assert slots.rows == len(held)
