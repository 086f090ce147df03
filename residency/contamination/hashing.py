"""Hashes of any stretch of a long text at once, modulo 2⁶⁴.

The hash of bytes b₀…bₙ₋₁ is Σ R[bᵢ]·Bⁱ with B odd. From its running sum S the hash of the stretch
from i to j is (S[j] − S[i])·B⁻ⁱ, so that every stretch of a length costs a subtraction and a product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse
_INVERSE = pow(_BASE, -1, 1 << 64)
_VALUES = np.random.default_rng(13).integers(1, 1 << 63, 256, dtype=np.uint64)


class Stretches:
    """A text whose stretches can be hashed."""

    def __init__(self, text: bytes) -> None:
        """`text`: any bytes; 33 bytes of memory are taken for each."""
        size = len(text)
        self.size = size
        powers, self._inverses = _powers(size)
        values = _VALUES[np.frombuffer(text, dtype=np.uint8)]
        values *= powers[:size]
        self._sums = np.zeros(size + 1, dtype=np.uint64)
        np.cumsum(values, out=self._sums[1:])

    def windows(self, length: int) -> Hashes:
        """The hash of every stretch of `length` bytes, in order."""
        if self.size < length:
            return np.zeros(0, dtype=np.uint64)
        found: Hashes = self._sums[length:] - self._sums[:-length]
        found *= self._inverses[: len(found)]
        return found

    def of(self, starts: Places, ends: Places) -> Hashes:
        """The hash of each stretch from `starts` to before `ends`."""
        found: Hashes = (self._sums[ends] - self._sums[starts]) * self._inverses[starts]
        return found


_known: tuple[Hashes, Hashes] = (np.ones(1, dtype=np.uint64), np.ones(1, dtype=np.uint64))


def _powers(size: int) -> tuple[Hashes, Hashes]:
    """B⁰, B¹, … and their inverses, at least `size` + 1 of them."""
    global _known
    if len(_known[0]) <= size:
        made = []
        for base in (_BASE, _INVERSE):
            steps = np.full(size + 1, base, dtype=np.uint64)
            steps[0] = 1
            made.append(np.cumprod(steps, dtype=np.uint64))
        _known = (made[0], made[1])
    return _known
