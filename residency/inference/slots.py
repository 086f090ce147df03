"""A cache of keys and values that is kept by rows: one request, one row.

A request that joins takes the next row, one that leaves has its row filled by the last. Nothing else
moves, so that joining and leaving cost one row's copy each, whoever else is under way.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import Cache
from transformers.cache_utils import DynamicLayer

_ROWS, _TOKENS = 4, 128
"""Rows and tokens that a new cache has room for; each is at least doubled when it is full."""


def prompt_cache() -> Cache:
    """An empty cache in which prompts are read: everything is kept, whatever the model's windows."""
    return Cache(layer_class_to_replicate=DynamicLayer)


class _Layer(DynamicLayer):
    """Keys and values of one layer: (rows, heads, tokens, size)."""

    def __init__(self, slots: Slots) -> None:
        super().__init__()
        self._slots = slots

    def hold(self, like: torch.Tensor, values: torch.Tensor, rows: int, tokens: int) -> None:
        """Have room for so many rows and tokens; what is held stays."""
        if not self.is_initialized:
            self.dtype, self.device, self.is_initialized = like.dtype, like.device, True
            self.keys = like.new_zeros(rows, like.shape[1], tokens, like.shape[3])
            self.values = values.new_zeros(rows, values.shape[1], tokens, values.shape[3])
            return
        assert self.keys is not None
        assert self.values is not None
        self.keys = _grown(self.keys, rows, tokens)
        self.values = _grown(self.values, rows, tokens)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one token a row behind what the row holds; returns all that the rows hold."""
        assert self.keys is not None
        assert self.values is not None
        slots = self._slots
        self.keys[slots.index, :, slots.ends] = key_states[:, :, 0]
        self.values[slots.index, :, slots.ends] = value_states[:, :, 0]
        rows, width = slots.rows, slots.width
        return self.keys[:rows, :, :width], self.values[:rows, :, :width]

    def get_seq_length(self) -> int:
        """The tokens of the longest row before the present one."""
        return max(0, self._slots.width - 1)


class Slots:
    """The rows in use are the first; row r holds `lengths[r]` tokens."""

    def __init__(self, device: torch.device | str) -> None:
        self._device = torch.device(device)
        self.lengths: list[int] = []
        self._layers: list[_Layer] = []
        self._room = (0, 0)
        self.index = self.ends = torch.zeros(0, dtype=torch.long, device=self._device)
        """While a token is computed: the rows, and where in each the token is written."""

    @property
    def rows(self) -> int:
        """Rows in use."""
        return len(self.lengths)

    @property
    def width(self) -> int:
        """Tokens of the longest row, the one under way with them."""
        return self._width

    def add(self, cache: Cache, rows: list[int], lengths: list[int]) -> None:
        """Take rows of a cache in which prompts were read.

        Args:
            cache: Filled, each of its rows from its first place.
            rows: Which of its rows, in the order in which they are taken; one may be taken often.
            lengths: How many tokens of each are a prompt's.
        """
        if not self._layers:
            self._layers = [_Layer(self) for _ in cache.layers]
        start = self.rows
        self._hold(cache, start + len(rows), max([*self.lengths, *lengths]) + 1)
        index = torch.tensor(rows, device=self._device)
        longest = max(lengths)
        for mine, theirs in zip(self._layers, cache.layers, strict=True):
            assert mine.keys is not None
            assert mine.values is not None
            mine.keys[start : start + len(rows), :, :longest] = theirs.keys[index, :, :longest]
            mine.values[start : start + len(rows), :, :longest] = theirs.values[index, :, :longest]
        self.lengths += lengths

    def begin(self) -> tuple[Cache, torch.Tensor, torch.Tensor]:
        """Make ready for one more token a row.

        Returns:
            The cache for the model; the token's place in its row, (rows, 1); which places each row may
            look at, (rows, 1, 1, width) and true where it may.
        """
        self._width = max(self.lengths) + 1
        self._hold(None, self.rows, self._width)
        self.index = torch.arange(self.rows, device=self._device)
        self.ends = torch.tensor(self.lengths, device=self._device)
        places = torch.arange(self._width, device=self._device)
        seen = places[None, :] <= self.ends[:, None]
        cache = Cache(layers=list(self._layers))
        return cache, self.ends[:, None], seen[:, None, None, :]

    def end(self) -> None:
        """The token has been written."""
        self.lengths = [length + 1 for length in self.lengths]

    def remove(self, rows: list[int]) -> list[int]:
        """Free rows.

        Returns:
            For each row that is left, in its new order, the row that it was.
        """
        order = list(range(self.rows))
        for row in sorted(rows, reverse=True):
            last = len(order) - 1
            if row != last:
                length = self.lengths[last]
                for layer in self._layers:
                    assert layer.keys is not None
                    assert layer.values is not None
                    layer.keys[row, :, :length] = layer.keys[last, :, :length]
                    layer.values[row, :, :length] = layer.values[last, :, :length]
                order[row], self.lengths[row] = order[last], length
            order.pop()
            self.lengths.pop()
        if not order:  # an idle server holds no memory but the model's
            self._layers, self._room = [], (0, 0)
        return order

    def clear(self) -> None:
        """Free everything."""
        self.lengths, self._layers, self._room = [], [], (0, 0)

    _width = 0

    def _hold(self, cache: Cache | None, rows: int, tokens: int) -> None:
        if rows <= self._room[0] and tokens <= self._room[1]:
            return
        more_rows = rows if rows <= self._room[0] else max(rows, _ROWS, 2 * self._room[0])
        more_tokens = tokens if tokens <= self._room[1] else max(tokens + _TOKENS, self._room[1] * 3 // 2)
        self._room = max(more_rows, self._room[0]), max(more_tokens, self._room[1])
        for at, layer in enumerate(self._layers):
            theirs = cache.layers[at] if cache is not None else layer
            layer.hold(theirs.keys, theirs.values, *self._room)


def _grown(states: torch.Tensor, rows: int, tokens: int) -> torch.Tensor:
    more = states.new_zeros(rows, states.shape[1], tokens, states.shape[3])
    more[: states.shape[0], :, : states.shape[2]] = states
    return more
