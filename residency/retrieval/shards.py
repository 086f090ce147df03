"""The vectors of an index while it is made: files of so many documents each.

A shard is written whole or not at all, so that an encoding that was killed goes on at the first
that is missing. `plan.json` says what the shards are of; shards of another corpus or another
encoder are never mixed with these.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from residency.errors import StageFailed
from residency.files import atomic, read_json, write_json

if TYPE_CHECKING:
    import numpy as np

PLAN = "plan.json"
SIZE = 2048
"""Documents of a shard: half a minute of work on a small machine."""


@dataclass(frozen=True, slots=True)
class Shards:
    """The shards in a folder."""

    folder: Path
    count: int
    """Documents in all."""
    dimension: int
    dtype: str = "float32"
    """float32, or float16 to halve the disk."""
    size: int = SIZE

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def begin(self, of: Any) -> list[int]:
        """Make ready to write; returns the shards that are missing.

        Args:
            of: What the vectors are made of: the documents' hash and the encoder, as JSON.
        """
        plan = {
            "of": of,
            "count": self.count,
            "dimension": self.dimension,
            "dtype": self.dtype,
            "size": self.size,
        }
        try:
            same = read_json(self.folder / PLAN) == plan
        except (OSError, ValueError):
            same = False
        if not same:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(self.folder / PLAN, plan)
        return [number for number in range(len(self)) if not self.path(number).is_file()]

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"{number:06d}.npy"

    def span(self, number: int) -> range:
        """The positions of a shard's documents."""
        return range(number * self.size, min(self.count, (number + 1) * self.size))

    def write(self, number: int, vectors: np.ndarray) -> None:
        """Write a shard, whole or not at all."""
        import numpy as np

        self._check(number, vectors)
        with atomic(self.path(number), "wb") as stream:
            np.save(stream, vectors.astype(self.dtype), allow_pickle=False)

    def read(self, number: int) -> np.ndarray:
        """A shard's vectors: float32, (documents, dimension).

        Raises:
            StageFailed: it is missing, cut short, of another size, or holds what is no number.
        """
        import numpy as np

        try:
            vectors = np.load(self.path(number), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise StageFailed(
                f"the vectors {self.path(number)} cannot be read: {error}",
                "remove that file and run the same command: it is encoded anew",
            ) from error
        self._check(number, vectors)
        found: np.ndarray = vectors.astype("float32", copy=False)
        return found

    def all(self) -> Iterator[tuple[range, np.ndarray]]:
        """Each shard's positions and vectors, in order."""
        for number in range(len(self)):
            yield self.span(number), self.read(number)

    def take(self, positions: np.ndarray) -> np.ndarray:
        """The vectors at these positions, in their order: float32, (n, dimension)."""
        import numpy as np

        found = np.empty((len(positions), self.dimension), dtype=np.float32)
        of = positions // self.size
        for number in np.unique(of):
            here = np.flatnonzero(of == number)
            vectors = np.load(self.path(int(number)), mmap_mode="r", allow_pickle=False)
            found[here] = vectors[positions[here] - int(number) * self.size]
        return found

    def _check(self, number: int, vectors: np.ndarray) -> None:
        import numpy as np

        expected = (len(self.span(number)), self.dimension)
        if vectors.shape != expected:
            raise StageFailed(
                f"vectors and documents disagree: {self.path(number).name} holds "
                f"{' × '.join(map(str, vectors.shape))} values, and its documents need "
                f"{' × '.join(map(str, expected))}",
                "remove that file and run the same command: it is encoded anew",
            )
        if not np.isfinite(vectors).all():
            raise StageFailed(
                f"{self.path(number).name} holds vectors that are not all numbers (NaN or infinite)",
                "set encoder.dtype: float32, remove that file and run the same command",
            )
