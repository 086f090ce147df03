"""The gold check of an rlvr stage, on the very rows that it trains on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from residency.engines.verl import places
from residency.rewards import gold, spec
from residency.rewards.corruptions import GoldRow
from residency.rows.read import rows_of


def check(stage: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Check the stage's rewards before it trains.

    Args:
        stage: What the engine wrote into stage.yaml.
        folder: The stage's folder, with the prompts in verl's form.

    Returns:
        What gold.json holds.

    Raises:
        RecipeInvalid: No right answer is known, or not what it scores.
        StageFailed: A gold answer scores too little or a corrupted one as much, with the row.
    """
    config: Mapping[str, Any] = stage["config"]
    asked = config.get("gold_check") or {}
    report = gold.check(
        spec.components(config),
        rows(folder / places.TRAIN),
        calls=spec.calls(config),
        count=int(asked.get("rows", gold.ROWS)),
        which=asked.get("corruptions"),
        tell=lambda line: print(line, flush=True),
    )
    gold.insist(report)
    return report.to_json()


def try_out(stage: Mapping[str, Any], folder: Path) -> None:
    """See that the stage's rewards give scores, where the recipe leaves the check out. Arguments as `check`.

    Raises:
        StageFailed: One of them gives none.
    """
    config: Mapping[str, Any] = stage["config"]
    gold.try_out(spec.components(config), rows(folder / places.TRAIN), spec.calls(config))


def rows(path: Path) -> Iterator[GoldRow]:
    """The rows of a file of prompts."""
    for number, row in enumerate(rows_of(path)):
        info: dict[str, Any] = row.get("extra_info") or {}
        yield GoldRow(
            prompt="\n".join(message["content"] for message in row["prompt"]),
            gold=info.get("gold"),
            ground_truth=row["reward_model"]["ground_truth"],
            data_source=row["data_source"],
            extra_info=info,
            index=int(info.get("index", number)),
        )
