"""Decoding many requests at once gives each what it would get alone."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from tiny_model import make_tiny_model  # noqa: E402

from residency.engines.verl.driver.decoding import Decoder, Request, make_request  # noqa: E402
from residency.inference.sampling import Sampling  # noqa: E402

PROMPTS = ([5, 9, 13, 40], [5, 9, 13, 40], [7], [30, 31, 32, 33, 34, 35, 36, 37, 38])


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = make_tiny_model(tmp_path_factory.mktemp("model"), family=request.param)
    # larger weights than a fresh model's, so that its choices are not all alike
    made = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() == 2:
                parameter.mul_(6)
    return made


def run(decoder: Decoder, *waves: list[Request]) -> None:
    """Admit each wave, with two tokens in between, and decode to the end."""
    for wave in waves:
        decoder.admit(wave)
        decoder.step()
        decoder.step()
    while decoder.running:
        decoder.step()


def requests(sampling: Sampling) -> list[Request]:
    return [make_request(prompt, sampling, seed=(0, number)) for number, prompt in enumerate(PROMPTS)]


def log_probs_of(model: Any, request: Request, temperature: float) -> list[float]:
    ids = torch.tensor([request.prompt + request.tokens])
    with torch.no_grad():
        logits = model(ids).logits[0, len(request.prompt) - 1 : -1] / temperature
    return logits.log_softmax(-1).gather(1, ids[0, len(request.prompt) :, None])[:, 0].tolist()


def test_greedy_decoding_is_that_of_generate(model: Any) -> None:
    asked = requests(Sampling(12, temperature=0.0))
    run(Decoder(model), asked)
    for request in asked:
        expected = model.generate(
            torch.tensor([request.prompt]), max_new_tokens=12, do_sample=False, eos_token_id=None
        )
        assert request.tokens == expected[0, len(request.prompt) :].tolist()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probs_are_those_of_a_forward_pass_at_the_temperature(model: Any, temperature: float) -> None:
    asked = requests(Sampling(10, temperature=temperature, log_probs=True))
    run(Decoder(model), asked[:2], asked[2:])
    for request in asked:
        assert len(request.log_probs) == len(request.tokens) == 10
        assert request.log_probs == pytest.approx(log_probs_of(model, request, temperature), abs=2e-4)


def test_raw_log_probs_leave_the_temperature_out(model: Any) -> None:
    asked = requests(Sampling(6, temperature=0.5, log_probs=True))
    run(Decoder(model, log_probs="raw_logprobs"), asked)
    for request in asked:
        assert request.log_probs == pytest.approx(log_probs_of(model, request, 1.0), abs=2e-4)


def test_an_answer_does_not_depend_on_who_else_is_decoded(model: Any) -> None:
    sampling = Sampling(10, temperature=1.0)
    together, waves, alone = requests(sampling), requests(sampling), requests(sampling)
    run(Decoder(model), together)
    run(Decoder(model, prefill_tokens=1), waves[2:], waves[:1], waves[1:2])
    for request in alone:
        run(Decoder(model), [request])
    assert [r.tokens for r in together] == [r.tokens for r in waves] == [r.tokens for r in alone]
    assert together[0].tokens != together[1].tokens  # one prompt, two answers


def test_each_request_ends_by_its_own_limit_and_stop_tokens(model: Any) -> None:
    free = requests(Sampling(12, temperature=0.0))
    run(Decoder(model), free)
    stop = free[0].tokens[4]
    first = free[0].tokens.index(stop)
    asked = [
        make_request(PROMPTS[0], Sampling(12, temperature=0.0, stop_ids=frozenset([stop])), seed=(0,)),
        make_request(PROMPTS[2], Sampling(3, temperature=0.0), seed=(0,)),
        make_request(PROMPTS[3], Sampling(12, temperature=0.0), seed=(0,)),
    ]
    run(Decoder(model), asked)
    assert asked[0].tokens == free[0].tokens[: first + 1]  # the stop token is part of the answer
    assert asked[1].tokens == free[2].tokens[:3]
    assert asked[2].tokens == free[3].tokens


def test_a_shared_prompt_is_read_once(model: Any) -> None:
    read = []
    hook = model.register_forward_pre_hook(
        lambda module, args, kwargs: read.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    try:
        Decoder(model).admit([make_request(PROMPTS[0], Sampling(4), seed=(i,)) for i in range(5)])
    finally:
        hook.remove()
    assert read == [(1, 4)]


def test_what_is_dropped_keeps_its_tokens(model: Any) -> None:
    decoder = Decoder(model)
    asked = requests(Sampling(10))
    decoder.admit(asked)
    decoder.step()
    assert set(decoder.drop_all()) == set(asked)
    assert all(len(request.tokens) == 2 for request in asked)
    assert decoder.step() == []


def test_a_seed_of_its_own_makes_a_request_repeatable(model: Any) -> None:
    sampling = Sampling(8, seed=7)
    first, again = (make_request(PROMPTS[0], sampling, seed=(n,)) for n in range(2))
    other = make_request(PROMPTS[0], Sampling(8, seed=8), seed=(0,))
    for request in (first, again, other):
        run(Decoder(model), [request])
    assert first.tokens == again.tokens != other.tokens
