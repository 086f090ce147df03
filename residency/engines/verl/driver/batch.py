"""What is known of the batch under way beside what verl hands to an advantage estimator."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

_groups: dict[str, Hashable] = {}


def set_groups(groups: Mapping[str, Hashable]) -> None:
    """Note each prompt's group: prompt id → number of hops."""
    _groups.clear()
    _groups.update(groups)


def group_of(uid: str) -> Hashable:
    """The group of a prompt.

    Raises:
        KeyError: the prompt has none.
    """
    return _groups[str(uid)]
