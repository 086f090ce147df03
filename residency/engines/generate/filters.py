"""Which answers are kept: functions by dotted path, or rewards with a least score."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from residency import functions
from residency.errors import RecipeInvalid
from residency.processing import Row
from residency.rewards import spec as rewards
from residency.rewards.score import Sample as ToScore
from residency.rewards.score import Scorer

LEAST = 1.0
"""The score that an answer must have where the recipe does not say."""


class Verdict(NamedTuple):
    """What a filter says of an answer."""

    kept: bool
    score: float | None
    """What it gave; None where it could not say."""
    why: str = ""
    """Why the answer is not kept."""
    failed: bool = False
    """True when the filter itself failed: that is no judgement of the answer."""


class Filter:
    """One entry of `filters:`."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        """Import its function. Raises RecipeInvalid when it is not there."""
        self.path = str(entry.get("fn") or entry.get("reward"))
        self.name = str(entry.get("name") or self.path.removeprefix("rewards."))
        self.least = float(entry.get("min", LEAST))
        self._args = dict(entry.get("args") or {})
        self._truth = str(entry.get("ground_truth") or "label")
        self._scorer: Scorer | None = None
        self._function: Callable[..., Any] | None = None
        if entry.get("reward"):
            component = {"fn": self.path, "args": self._args, "name": "reward"}
            self._scorer = Scorer(rewards.components({"rewards": [component]}), rewards.Calls(retries=0))
        else:
            self._function = functions.load(self.path)

    def judge(self, row: Row, samples: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """A verdict on each answer to a row. Raises nothing that the function raises.

        Args:
            row: The row of the dataset.
            samples: `text`, `finish_reason`, `tokens`, and `json` where answers are JSON.
        """
        if self._scorer is not None:
            if row.get(self._truth) is None:
                said = f"the row has no `{self._truth}`, which would be the right answer"
                return [Verdict(False, None, said, failed=True) for _ in samples]
            source = str(row.get("data_source") or "")
            asked = [ToScore(source, str(s["text"]), row[self._truth], dict(row)) for s in samples]
            return [
                self._verdict(scored.total, next(iter(scored.errors.values()), ""))
                for scored in self._scorer.score_now(asked)
            ]
        assert self._function is not None
        found = []
        for sample in samples:
            try:
                given, error = self._function(dict(row), dict(sample), **self._args), ""
            except Exception as problem:
                given, error = None, f"{type(problem).__name__}: {problem}"
            found.append(self._verdict(given, error))
        return found

    def _verdict(self, given: Any, error: str) -> Verdict:
        if isinstance(given, bool):
            return Verdict(given, float(given), "" if given else self.name)
        if isinstance(given, int | float) and math.isfinite(given):
            kept = given >= self.least
            return Verdict(kept, float(given), "" if kept else f"{self.name} below {self.least:g}")
        error = error or f"it gave {type(given).__name__}, neither true or false nor a number"
        return Verdict(False, None, f"{self.name} failed: {error}"[:300], failed=True)


def load(entries: Sequence[Mapping[str, Any]]) -> list[Filter]:
    """The filters of a recipe, each under a name of its own."""
    made = [Filter(entry) for entry in entries]
    names = [one.name for one in made]
    for name in names:
        if names.count(name) > 1:
            raise RecipeInvalid(f"two filters are named `{name}`", "give one of them a `name:` of its own")
    return made
