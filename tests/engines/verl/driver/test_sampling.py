"""How a request's parameters are read, and which token they lead to."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from residency.engines.verl.driver.sampling import read_sampling  # noqa: E402
from residency.inference.sampling import Sampling, pick, process_logits  # noqa: E402

STOPS = frozenset([2])


def read(**params: object) -> Sampling:
    return read_sampling(params, stop_ids=STOPS, default_tokens=32, most_tokens=100)


def test_verls_own_request_is_read() -> None:
    found = read(temperature=0.7, top_p=0.9, top_k=-1, repetition_penalty=1.0, logprobs=True)
    assert found == Sampling(
        max_tokens=32, temperature=0.7, top_p=0.9, top_k=0, stop_ids=STOPS, log_probs=True
    )


@pytest.mark.parametrize(
    ("params", "tokens"),
    [({"max_tokens": 5}, 5), ({"max_new_tokens": 6}, 6), ({"max_tokens": 1000}, 100), ({"max_tokens": 0}, 1)],
)
def test_the_limit_is_the_requests_own_within_the_context(params: dict[str, int], tokens: int) -> None:
    assert read(**params).max_tokens == tokens


def test_stop_tokens_add_to_the_models_own_and_ignore_eos_drops_those() -> None:
    assert read(stop_token_ids=[7]).stop_ids == {2, 7}
    assert read(stop_token_ids=[7], ignore_eos=True).stop_ids == {7}


def test_what_changes_nothing_is_taken_and_what_would_is_refused_by_name() -> None:
    read(n=1, presence_penalty=0.0, stop=None, skip_special_tokens=True)
    with pytest.raises(ValueError, match=r"presence_penalty=0\.5, stop=\['x'\]"):
        read(presence_penalty=0.5, stop=["x"])


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_p": 0}, {"min_p": 2}, {"repetition_penalty": 0}]
)
def test_a_value_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        read(**wrong)


def processed(
    logits: list[float], sampling: Sampling, seen: tuple[int, ...] = (), made: int = 0
) -> list[float]:
    return process_logits(torch.tensor([logits]), [sampling], [seen], [made])[0].tolist()


def test_temperature_scales() -> None:
    assert processed([1.0, 2.0], Sampling(9, temperature=0.5)) == [2.0, 4.0]


def test_top_k_keeps_the_likeliest() -> None:
    kept = processed([1.0, 3.0, 2.0, 0.0], Sampling(9, top_k=2))
    assert kept == [-torch.inf, 3.0, 2.0, -torch.inf]


def test_top_p_keeps_the_shortest_head_that_reaches_the_mass() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    kept = processed(logits, Sampling(9, top_p=0.7))
    assert [value > -torch.inf for value in kept] == [True, True, False, False]


def test_min_p_is_relative_to_the_likeliest() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    kept = processed(logits, Sampling(9, min_p=0.5))
    assert [value > -torch.inf for value in kept] == [True, True, False, False]


def test_a_repeated_token_is_penalised_whatever_its_sign() -> None:
    assert processed([2.0, -2.0, 1.0], Sampling(9, repetition_penalty=2.0), seen=(0, 1)) == [1.0, -4.0, 1.0]


def test_no_stop_token_before_the_least_number() -> None:
    sampling = Sampling(9, stop_ids=STOPS, min_tokens=2)
    assert processed([0.0, 0.0, 9.0], sampling, made=1)[2] == -torch.inf
    assert processed([0.0, 0.0, 9.0], sampling, made=2)[2] == 9.0


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(-40, 40), min_size=2, max_size=700, unique=True),
    st.floats(0.05, 1.0),
    st.integers(0, 20),
)
def test_top_p_within_top_k_agrees_with_a_full_sort(values: list[int], top_p: float, top_k: int) -> None:
    logits = torch.tensor(values) / 8.0
    kept = processed(logits.tolist(), Sampling(9, top_p=top_p, top_k=top_k))
    order = logits.argsort(descending=True)
    head = order[: top_k or len(order)]
    mass = logits[head].softmax(-1).cumsum(-1)
    count = int((mass < top_p - 1e-6).sum()) + 1 if top_p < 1 else len(head)
    assert {i for i, value in enumerate(kept) if value > -torch.inf} == set(head[:count].tolist())


def test_a_flat_distribution_needs_more_than_the_head() -> None:
    kept = processed([0.0] * 1000 + [1.0], Sampling(9, top_p=0.99))
    assert sum(value > -torch.inf for value in kept) == 1001  # equal logits stay together


@pytest.mark.parametrize(("uniform", "token"), [(0.0, 0), (0.49, 0), (0.51, 2), (0.9999999, 2)])
def test_a_random_number_picks_by_cumulative_mass(uniform: float, token: int) -> None:
    log_probs = torch.tensor([[0.5, 0.0, 0.5, 0.0]]).log()
    picked = pick(log_probs, torch.tensor([uniform], dtype=torch.float64), torch.tensor([False]))
    assert picked.tolist() == [token]


def test_greedy_rows_take_the_likeliest() -> None:
    log_probs = torch.tensor([[0.1, 0.9], [0.1, 0.9]]).log()
    picked = pick(log_probs, torch.tensor([0.0, 0.0], dtype=torch.float64), torch.tensor([True, False]))
    assert picked.tolist() == [1, 0]


def test_samples_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.1, 0.2, 0.7])
    uniform = torch.rand(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    picked = pick(probabilities.log().expand(20_000, 3), uniform, torch.zeros(20_000, dtype=torch.bool))
    shares = picked.bincount(minlength=3) / 20_000
    assert torch.allclose(shares, probabilities, atol=0.01)
