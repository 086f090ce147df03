"""Attention and cache of the rollout: transformers' own, less the copies that it makes a token.

With grouped heads (most models now) transformers repeats keys and values for every head before
it calls PyTorch, and a cache that grows is copied whole. For one new token a row both cost more
than attention itself.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, Cache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "residency_sdpa"
"""The attention's name in transformers' registry."""

_ROOM = 64
"""Tokens that a full cache layer grows by."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot-product attention; takes and gives what transformers' own does.

    For one token a row the heads of a group stand in the place of tokens: they look at the same
    keys, each for itself, which is what attention between several tokens and the keys is.
    """
    rows, heads, tokens, size = query.shape
    groups = key.shape[1]
    if tokens != 1 or heads == groups:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    output = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, groups, heads // groups, size),
        key,
        value,
        attn_mask=attention_mask,
        scale=scaling,
    )
    return output.reshape(rows, 1, heads, size), None


class _Layer(DynamicLayer):
    """Keys and values with room at their end."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append; returns all keys and values."""
        if not self.is_initialized:
            self.dtype, self.device = key_states.dtype, key_states.device
            self.keys, self.values, self.is_initialized = key_states, value_states, True
            return key_states, value_states
        assert self.keys is not None
        assert self.values is not None
        start, end = self.keys.shape[-2], self.keys.shape[-2] + key_states.shape[-2]
        if not self._has_room(end):
            self._buffers = (_with_room(self.keys, end), _with_room(self.values, end))
        assert self._buffers is not None
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def _has_room(self, end: int) -> bool:
        """Whether the buffers hold the present keys, which may have been replaced, and have room."""
        return (
            self._buffers is not None
            and self.keys is not None
            and self._buffers[0].data_ptr() == self.keys.data_ptr()
            and self._buffers[0].shape[0] == self.keys.shape[0]
            and end <= self._buffers[0].shape[2]
        )


def _with_room(states: torch.Tensor, end: int) -> torch.Tensor:
    rows, heads, tokens, size = states.shape
    buffer = states.new_empty(rows, heads, end + _ROOM, size)
    buffer[:, :, :tokens] = states
    return buffer


def make_cache() -> Cache:
    """An empty cache of keys and values, whatever the model's layers."""
    return Cache(layer_class_to_replicate=_Layer)


def register() -> str:
    """Make the attention known to transformers; returns its name."""
    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME
