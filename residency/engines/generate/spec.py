"""What a `generate` stage is asked to do, as its command reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from residency.endpoint.settings import Endpoint, endpoint
from residency.processing import Report, Row
from residency.rows.read import rows_of


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are made."""

    n: int = 1
    """Answers to each row."""
    temperature: float = 0.0
    """0: the likeliest token each time."""
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int = 256
    """Tokens of an answer at most."""
    stop: tuple[str, ...] = ()
    seed: int = 0
    """From which each answer's own seed is made."""

    def seed_of(self, row: int, sample: int) -> int:
        """The seed of one answer: another for each, the same in every attempt."""
        return (self.seed * 1_000_003 + row * 9_973 + sample) % (1 << 31)


@dataclass(frozen=True, slots=True)
class Spec:
    """stage.yaml."""

    data: tuple[Path, ...]
    prompt: Mapping[str, Any]
    sampling: Sampling
    model: str | None = None
    adapter: str | None = None
    endpoint: Endpoint | None = None
    limit: int | None = None
    json: bool | Mapping[str, Any] = False
    filters: tuple[Mapping[str, Any], ...] = ()
    keep: tuple[str, ...] | None = None
    """Columns of the row that go into the dataset; None: all."""
    output: Mapping[str, str] | None = None
    """The dataset's columns as templates; None: the talk in `format`."""
    format: str = "alpaca"
    take: str = "all"
    dtype: str | None = None
    batch: int = 8
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of each request, as the server knows them."""


def spec(stage: Mapping[str, Any]) -> Spec:
    """The stage of stage.yaml."""
    given = dict(stage.get("sampling") or {})
    extra = given.pop("extra", None) or {}
    stop = given.pop("stop", None) or ()
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    keep = stage.get("keep")
    return Spec(
        data=tuple(Path(path) for path in stage["data"]),
        prompt=stage.get("prompt") or {},
        sampling=Sampling(stop=stops, **{k: v for k, v in given.items() if v is not None}),
        model=stage.get("model"),
        adapter=stage.get("adapter"),
        endpoint=endpoint(stage),
        limit=stage.get("limit"),
        json=stage.get("json") or False,
        filters=tuple(stage.get("filters") or ()),
        keep=None if keep is None else tuple(keep),
        output=stage.get("output"),
        format=stage.get("format") or "alpaca",
        take=stage.get("take") or "all",
        dtype=stage.get("dtype"),
        batch=int(stage.get("batch") or 8),
        extra=extra,
    )


def rows(spec: Spec, report: Report) -> Iterator[tuple[int, Row]]:
    """The rows of all files with their numbers from 0, as many as the limit says."""
    number = 0
    for path in spec.data:
        for row in rows_of(path, report):
            if spec.limit is not None and number >= spec.limit:
                return
            yield number, row
            number += 1


def identity(row: Row, number: int) -> str:
    """A row's name: its `id`, its PMID, or its number from 1."""
    for key in ("id", "pmid"):
        if row.get(key) not in (None, ""):
            return str(row[key])
    return str(number + 1)
