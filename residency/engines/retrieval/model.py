"""The models of an index stage: fetched where the recipe names a source, and how they encode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from residency.engines.transformers import weights
from residency.errors import StageFailed
from residency.paths import cache_dir, mirror_dir
from residency.retrieval import models
from residency.retrieval.manifest import Encoder
from residency.sources import fetch
from residency.sources.spec import source

LENGTH = 512
"""Tokens of a document at most, where neither the recipe nor the model says."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Models:
    """The model of each side, on this disk."""

    passages: Path
    queries: Path
    spec: Encoder
    """Without the dimension, which is known once the model is loaded."""


def models_of(given: Mapping[str, Any], base: Path, say: Say) -> Models:
    """Find or fetch the models of `encoder:`.

    Args:
        given: The recipe's `encoder`, its paths absolute.
        base: Where a source's relative path starts.
        say: Is told what is fetched.

    Raises:
        Missing: a model is not there and cannot be fetched.
        StageFailed: it holds no weights, or a length is more than it takes.
    """
    passages = _folder(given["model"], base, say)
    other = given.get("query_model")
    queries = _folder(other, base, say) if other else passages
    said, asked = models.says(passages), models.says(queries)
    most = min(said.max_length or LENGTH, LENGTH)
    query_most = min(asked.max_length or LENGTH, LENGTH)
    spec = Encoder(
        model=_name(given["model"]),
        model_sha256=models.sha256(passages),
        query_model=_name(other) if other else None,
        query_sha256=models.sha256(queries) if other else None,
        pooling=given.get("pooling") or said.pooling or "mean",
        passage_prefix=_given(given, "passage_prefix", said.passage_prefix),
        query_prefix=_given(given, "query_prefix", asked.query_prefix),
        max_passage_length=given.get("max_passage_length") or most,
        max_query_length=given.get("max_query_length")
        or (query_most if other else given.get("max_passage_length") or most),
        normalize=bool(given.get("normalize", True)),
        dtype=given.get("dtype") or "auto",
        pair=bool(given.get("pair", False)),
    )
    for key, folder in (("max_passage_length", passages), ("max_query_length", queries)):
        longest = models.positions(folder)
        if longest is not None and getattr(spec, key) > longest:
            raise StageFailed(
                f"encoder.{key} is {getattr(spec, key):,}, and {folder} takes {longest:,} tokens",
                f"set encoder.{key} to {longest} or less",
            )
    return Models(passages, queries, spec)


def _folder(given: Any, base: Path, say: Say) -> Path:
    if not isinstance(given, Mapping):
        return models.find(weights.locate(str(given)))
    found = source(given)
    say(f"model {found.shown}; licence: {found.licence or 'not stated'}")
    got = fetch(given, cache=cache_dir(), mirror=mirror_dir(), base=base, report=say)
    if got.path.is_file():
        raise StageFailed(
            f"{found.shown} gives the file {got.path.name}, and a model is a folder",
            "give `unpack: true`, or a `member` that matches all files of the model",
        )
    return models.find(got.path)


def _name(given: Any) -> str:
    return source(given).shown if isinstance(given, Mapping) else str(given)


def _given(given: Mapping[str, Any], key: str, otherwise: str) -> str:
    value = given.get(key)
    return otherwise if value is None else str(value)
