"""How sequences that share prompts are laid out for one pass of a model.

verl pads each sequence, prompt and answer, and computes logits for every position of it. But a
group's answers have their prompt in common, and only an answer's tokens have a loss. Here a
prompt stands once in a row, followed by several of its answers; an answer's tokens see the
prompt and what precedes them in their own answer, and carry the positions that they would have
alone. Rows are padded on the left, so that everything with a loss lies in the last columns.

The numbers that come out are those of separate rows, to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows for a model, and where in its output each token of an answer was predicted."""

    input_ids: torch.Tensor
    """(rows, width)"""
    position_ids: torch.Tensor
    """(rows, width)"""
    attention_mask: torch.Tensor
    """(rows, 1, width, width), bool: row, –, who looks, at whom."""
    keep: int
    """Outputs are needed of the last so many columns alone."""
    rows: torch.Tensor
    """(tokens,): the row of each answer token's predictor, answers in the order of the sequences."""
    columns: torch.Tensor
    """(tokens,): its column, counted within the last `keep`."""
    targets: torch.Tensor
    """(tokens,): the answer tokens."""
    places: torch.Tensor
    """(tokens,): the predictor's index when all sequences are written one after the other."""

    def spread(self, values: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """`values` (tokens,) as verl has them: nested by sequence, prompt and answer, 0 in between.

        Args:
            offsets: of the nested `input_ids` that the layout was made of.
        """
        flat = values.new_zeros(int(offsets[-1])).index_put((self.places,), values)
        return torch.nested.nested_tensor_from_jagged(flat, offsets)


def answers_per_row(prompt: int, answers: Sequence[int], pairs_per_token: float) -> int:
    """How many of a prompt's answers to put in one row, so that the least is computed.

    More of them save readings of the prompt, but a row's attention grows with its width squared,
    most of it masked: with long answers a row of their own is cheaper.

    Args:
        prompt: tokens of the prompt.
        answers: tokens of each answer.
        pairs_per_token: how many pairs of tokens attention handles in the time that everything
            else takes for one token.
    """
    longest = max(answers)

    def cost(count: int) -> float:
        width = prompt + count * longest
        return -(-len(answers) // count) * (width + width * width / pairs_per_token)

    return min(range(1, len(answers) + 1), key=cost)


def lay_out(
    prompts: Sequence[torch.Tensor],
    answers: Sequence[torch.Tensor],
    *,
    pairs_per_token: float = 3000.0,
    pad_id: int = 0,
    share: bool = True,
) -> Layout:
    """The layout of sequences that consist of a prompt and an answer.

    Args:
        prompts: the prompt of each sequence, at least one token.
        answers: its answer; what a tool said within it counts as answer. At least one token.
        pairs_per_token: see `answers_per_row`.
        pad_id: what fills the left; masked.
        share: False gives each sequence a row of its own.

    Raises:
        ValueError: an empty prompt or answer.
    """
    if any(len(p) == 0 for p in prompts) or any(len(a) == 0 for a in answers):
        raise ValueError("a sequence needs at least one token of prompt and one of answer")
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(tuple(prompt.tolist()), []).append(index)
    rows: list[list[int]] = []
    for prompt_ids, members in groups.items():
        lengths = [len(answers[i]) for i in members]
        count = answers_per_row(len(prompt_ids), lengths, pairs_per_token) if share else 1
        rows += [members[start : start + count] for start in range(0, len(members), count)]

    # An answer's last token predicts nothing that has a loss: it is left out.
    tails = [sum(len(answers[i]) - 1 for i in row) for row in rows]
    width = max(len(prompts[row[0]]) + tail for row, tail in zip(rows, tails, strict=True))
    keep = max(tails) + 1
    input_ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    position_ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.eye(width, dtype=torch.bool).repeat(len(rows), 1, 1)  # padding sees itself: no NaN
    ends = torch.tensor([len(p) + len(a) for p, a in zip(prompts, answers, strict=True)]).cumsum(0)
    where: dict[int, tuple[int, torch.Tensor]] = {}
    for number, row in enumerate(rows):
        prompt = prompts[row[0]]
        start = width - tails[number] - len(prompt)
        column = start + len(prompt)
        input_ids[number, start:column] = prompt
        position_ids[number, start:column] = torch.arange(len(prompt))
        mask[number, start:column, start:column] |= _causal(len(prompt))
        for index in row:
            length = len(answers[index]) - 1
            end = column + length
            input_ids[number, column:end] = answers[index][:-1]
            position_ids[number, column:end] = torch.arange(len(prompt), len(prompt) + length)
            mask[number, column:end, start : start + len(prompt)] = True
            mask[number, column:end, column:end] |= _causal(length)
            # the first token of an answer is predicted at the prompt's last, the others before themselves
            predictors = torch.cat([torch.tensor([start + len(prompt) - 1]), torch.arange(column, end)])
            where[index] = (number, predictors - (width - keep))
            column = end
    order = range(len(prompts))
    return Layout(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=mask[:, None],
        keep=keep,
        rows=torch.cat([torch.full_like(where[i][1], where[i][0]) for i in order]),
        columns=torch.cat([where[i][1] for i in order]),
        targets=torch.cat([answers[i] for i in order]),
        places=torch.cat([torch.arange(ends[i] - len(answers[i]), ends[i]) - 1 for i in order]),
    )


def _causal(length: int) -> torch.Tensor:
    return torch.ones(length, length, dtype=torch.bool).tril()
