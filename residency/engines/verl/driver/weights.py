"""Handing a model's weights from the training worker to the rollout servers.

A bucket of weights goes into Ray's object store once, as plain arrays; every server of the node
maps it. On a CPU the mapped arrays *are* the server's parameters: nothing is copied a second time.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Packed:
    """One weight as bytes that the object store can map."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    data: np.ndarray
    """uint8, one dimension; read-only where it was mapped."""


def pack(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> Packed:
    """`tensor` on the CPU, a floating one as `dtype`. Shares its memory when nothing has to change."""
    plain = tensor.detach()
    if plain.is_floating_point():
        plain = plain.to("cpu", dtype)
    plain = plain.cpu().contiguous()
    return Packed(name, plain.dtype, tuple(plain.shape), plain.reshape(-1).view(torch.uint8).numpy())


def unpack(packed: Packed) -> torch.Tensor:
    """The tensor over the same memory. It must not be written to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the array is read-only; so is what we do with it
        return torch.from_numpy(packed.data).view(packed.dtype).reshape(packed.shape)


def buckets(
    weights: Iterable[tuple[str, torch.Tensor]], dtype: torch.dtype, limit: int, skip: frozenset[str]
) -> Iterator[list[Packed]]:
    """`weights` packed, in lists of about `limit` bytes; names in `skip` are left out.

    `weights` is always read to its end: with several ranks each item is a collective.
    """
    bucket: list[Packed] = []
    size = 0
    for name, tensor in weights:
        if name in skip:
            continue
        bucket.append(pack(name, tensor, dtype))
        size += bucket[-1].data.nbytes
        if size >= limit:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


class Receiver:
    """A model whose weights come from elsewhere, bucket by bucket."""

    def __init__(self, model: torch.nn.Module, *, loaded: bool):
        """Args:
        model: its weights are replaced, not written to. Weights that are tied must be so already.
        loaded: whether it has its weights already.
        """
        self._device = next(model.parameters()).device
        parameters = dict(model.named_parameters(remove_duplicate=False))
        everything = parameters | dict(model.named_buffers(remove_duplicate=False))
        self._weights = {name: everything[name] for name in model.state_dict()}
        # A tied weight has two names and comes under one of them.
        self._first = {id(tensor): name for name, tensor in reversed(self._weights.items())}
        self._missing = set() if loaded else set(self._first.values())

    def load(self, bucket: Iterable[Packed]) -> None:
        """Take a bucket.

        Raises:
            ValueError: a weight that the model does not have, or of another shape.
        """
        for packed in bucket:
            target = self._weights.get(packed.name)
            if target is None:
                raise ValueError(f"the rollout's model has no weight {packed.name!r}")
            if tuple(target.shape) != packed.shape:
                raise ValueError(
                    f"weight {packed.name} is {packed.shape} in training and "
                    f"{tuple(target.shape)} in the rollout"
                )
            target.data = unpack(packed).to(self._device)  # on a CPU the mapped memory itself
            self._missing.discard(self._first[id(target)])

    def release(self) -> None:
        """Forget the weights and free their memory; shapes stay known."""
        for name in self._first.values():
            target = self._weights[name]
            # one element stands for all of them, so that the shape stays and the memory goes
            target.data = torch.empty((), dtype=target.dtype, device=self._device).expand(target.shape)
            self._missing.add(name)

    def require(self) -> None:
        """Raise RuntimeError unless every weight has come."""
        if self._missing:
            some = ", ".join(sorted(self._missing)[:3])
            raise RuntimeError(
                f"{len(self._missing)} weights have not come from the training worker: {some}, …"
            )
