"""Rows of the recipe's datasets as rows of verl's: each of sound shape, and short enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from residency.engines.verl.prompts.length import Measure
from residency.engines.verl.prompts.report import Count
from residency.errors import StageFailed
from residency.rewards.datasets import Source
from residency.rewards.extra import extra_info
from residency.rewards.rows import RewardRow, read

BATCH = 2048
"""Rows that are measured and written together."""
EXAMPLES = 5
"""Prompts that were too long, of which the place is told."""


class Fit:
    """Turns rows into verl's, each short enough."""

    def __init__(self, measure: Measure, limit: int, long_prompts: str, most: int | None) -> None:
        self.measure, self.limit, self.long_prompts, self.most = measure, limit, long_prompts, most
        self.count = Count()
        self._shape: tuple[str, str] | None = None

    def prompts(self, rows: Iterable[tuple[Source, RewardRow]]) -> Iterator[dict[str, Any]]:
        """verl's rows as `ParquetRows.add` takes them, `most` at most."""
        for some in batches(rows, min(BATCH, 2 * self.most) if self.most else BATCH):
            lengths = self.measure.lengths([row.messages for _, row in some])
            for (source, row), length in zip(some, lengths, strict=True):
                if self.most is not None and self._taken >= self.most:
                    return self._end()
                messages: Sequence[Mapping[str, str]] = row.messages
                made = self._row(source, row)
                if length > self.limit:
                    cut = self._shorten(source, row, length)
                    if cut is None:
                        continue
                    messages, length = cut
                made["prompt"] = [dict(message) for message in messages]
                made["extra_info.index"] = self.count.read
                self.count.read += 1
                self.count.kept += 1
                self.count.tokens.append(length)
                self.count.datasets[source.name] = self.count.datasets.get(source.name, 0) + 1
                yield made
        return self._end()

    @property
    def _taken(self) -> int:
        """Rows that count for `most`: where too long ones stop the stage, they do too."""
        return self.count.kept + (self.count.dropped if self.long_prompts == "stop" else 0)

    def _end(self) -> None:
        if self.long_prompts == "stop" and self.count.longest:
            raise self._stopped()

    def _shorten(
        self, source: Source, row: RewardRow, length: int
    ) -> tuple[list[dict[str, str]], int] | None:
        """The prompt cut to the limit with its length, or None where it is left out."""
        if len(self.count.longest) < EXAMPLES:
            self.count.longest.append((length, place(source, row)))
        if self.long_prompts == "truncate":
            cut = self.measure.cut(row.messages, self.limit)
            if cut is not None:
                self.count.truncated += 1
                return cut
        self.count.read += 1
        self.count.dropped += 1
        return None

    def _stopped(self) -> StageFailed:
        examples = "; ".join(f"{where}: {tokens} tokens" for tokens, where in self.count.longest)
        n = self.count.too_long
        return StageFailed(
            f"{n} of {self.count.read} prompts are longer than {self.limit} tokens ({examples})",
            "raise verl.data.max_prompt_length, or choose `rows: {long_prompts: drop}` or `truncate`",
        )

    def _row(self, source: Source, row: RewardRow) -> dict[str, Any]:
        """verl's row; its prompt and its number come when it is known to be kept."""
        self._check_truth(source, row)
        given = row.columns.get("reward_model")
        style = given.get("style") if isinstance(given, Mapping) else None
        return {
            "prompt": None,
            "data_source": row.data_source,
            "reward_model.style": str(style or "rule"),
            "reward_model.ground_truth": row.ground_truth,
            "extra_info.index": None,
            **{f"extra_info.{key}": value for key, value in extra_info(row).items()},
        }

    def _check_truth(self, source: Source, row: RewardRow) -> None:
        """Every ground truth is of one shape: what a reward function can count on."""
        hint = "name the right column: `rows: {ground_truth: …}`, or mend the data"
        try:
            shape = truth_shape(row.ground_truth)
        except ValueError as error:
            raise StageFailed(f"{place(source, row)}: the ground truth {error}", hint) from None
        if self._shape is None:
            self._shape = shape, place(source, row)
        elif self._shape[0] != shape:
            before, first = self._shape
            raise StageFailed(
                f"{place(source, row)}: the ground truth is {shape}, while that of {first} is {before}", hint
            )


def truth_shape(value: Any) -> str:
    """What a ground truth is: `text`, `a number`, `true or false`, `a list` or `an object`.

    Raises:
        ValueError: It is nothing of the kind, or empty.
    """
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"is {value}")
        return "a number"
    if isinstance(value, str):
        if not value.strip():
            raise ValueError("is empty")
        return "text"
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("is an empty list")
        inner = {truth_shape(item) for item in value}
        if len(inner) > 1:
            raise ValueError(f"is a list of {' and '.join(sorted(inner))}")
        return "a list"
    if isinstance(value, Mapping):
        if not value:
            raise ValueError("is an object without a key")
        return "an object"
    raise ValueError("is nothing" if value is None else f"is of type {type(value).__name__}")


def rows_of(config: Mapping[str, Any], sources: Sequence[Source]) -> Iterator[tuple[Source, RewardRow]]:
    """The rows of several datasets in turn, so that the first few are a few of each."""
    readers = [(s, read(config, s.path, s.entry, name=s.name)) for s in sources]
    while readers:
        for reader in list(readers):
            source, rows = reader
            row = next(rows, None)
            if row is None:
                readers.remove(reader)
            else:
                yield source, row


def batches(rows: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` rows, the last one of what is left."""
    source = iter(rows)
    while some := list(islice(source, size)):
        yield some


def place(source: Source, row: RewardRow) -> str:
    """Where a row stands, for messages."""
    return f"{source.path}, row {row.index + 1}"
