"""What a reward function is given as `extra_info`, in training and in the gold check alike."""

from __future__ import annotations

from typing import Any

from residency.rewards.rows import RewardRow

OWN = (
    *("prompt", "messages", "conversations", "instruction", "input", "output", "history", "system"),
    *("data_source", "reward_model", "extra_info"),
)
"""Columns that the prompt, the ground truth and the gold answer are made from."""


def extra_info(row: RewardRow) -> dict[str, Any]:
    """The row's further columns, and these.

    `index`: its number; `question`: the text of the last message; `gold`: a right answer where one
    is known; `group`: what groups prompts for HRPO, where the recipe names a column for it.
    """
    found = {key: value for key, value in row.columns.items() if key not in OWN}
    found |= {"index": row.index, "question": row.messages[-1]["content"]}
    if row.gold is not None:
        found["gold"] = row.gold
    if row.group is not None:
        found["group"] = row.group
    return found
