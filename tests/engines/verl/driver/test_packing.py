"""Sequences that share prompts, laid out in fewer rows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from residency.engines.verl.driver.packing import answers_per_row, lay_out  # noqa: E402


def tensors(*lists: list[int]) -> list[torch.Tensor]:
    return [torch.tensor(values) for values in lists]


def test_a_group_stands_in_one_row() -> None:
    layout = lay_out(tensors([5, 6], [5, 6]), tensors([1, 2, 3], [7, 8]), pairs_per_token=1e9)
    assert layout.input_ids.tolist() == [[5, 6, 1, 2, 7]]  # no answer's last token
    assert layout.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert layout.attention_mask[0, 0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],  # the second answer does not see the first
    ]
    assert layout.keep == 4  # from the prompt's last token on
    assert layout.columns.tolist() == [0, 1, 2, 0, 3]
    assert layout.targets.tolist() == [1, 2, 3, 7, 8]
    assert layout.places.tolist() == [1, 2, 3, 6, 7]


def test_rows_end_together_and_padding_sees_itself_alone() -> None:
    layout = lay_out(tensors([1], [2, 3, 4]), tensors([5, 6], [7]))
    assert layout.input_ids.tolist() == [[0, 1, 5], [2, 3, 4]]
    assert layout.attention_mask[0, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert layout.keep == 2


def test_values_are_spread_where_verl_reads_them() -> None:
    layout = lay_out(tensors([5, 6], [5, 6]), tensors([1, 2, 3], [7, 8]), pairs_per_token=1e9)
    nested = layout.spread(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([0, 5, 9]))
    assert [row.tolist() for row in nested.unbind()] == [[0, 1, 2, 3, 0], [0, 4, 5, 0]]


def test_short_answers_share_and_long_ones_do_not() -> None:
    assert answers_per_row(256, [32] * 4, 3000) == 4
    assert answers_per_row(256, [4000] * 16, 3000) == 1
    assert answers_per_row(10, [1], 3000) == 1


def test_an_empty_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        lay_out(tensors([1]), [torch.tensor([], dtype=torch.long)])


tokens = st.lists(st.integers(1, 9), min_size=1, max_size=6)
sequences_of_three_prompts = st.lists(
    st.tuples(st.sampled_from([(1,), (2, 3), (4, 5, 6, 7)]), tokens), min_size=1, max_size=8
)


@settings(deadline=None, max_examples=60)
@given(sequences_of_three_prompts, st.booleans())
def test_every_token_sees_what_it_would_see_alone(
    sequences: list[tuple[tuple[int, ...], list[int]]], share: bool
) -> None:
    prompts = [torch.tensor(p) for p, _ in sequences]
    answers = [torch.tensor(a) for _, a in sequences]
    layout = lay_out(prompts, answers, pairs_per_token=50.0, share=share)
    width = layout.input_ids.shape[1]
    entry = 0
    for prompt, answer in zip(prompts, answers, strict=True):
        whole = torch.cat([prompt, answer])
        for step in range(len(answer)):
            row = int(layout.rows[entry])
            column = width - layout.keep + int(layout.columns[entry])
            seen = layout.attention_mask[row, 0, column]
            before = whole[: len(prompt) + step]
            assert layout.input_ids[row][seen].tolist() == before.tolist()
            assert layout.position_ids[row][seen].tolist() == list(range(len(before)))
            assert int(layout.targets[entry]) == int(answer[step])
            entry += 1
    assert entry == len(layout.rows) == len(layout.places)
