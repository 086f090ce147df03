"""What a stage kind is to the launcher."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_probe import Answer
from residency.recipe.model import Recipe


@dataclass(frozen=True, slots=True)
class Output:
    """One thing that a stage leaves, known before it has run."""

    path: str
    """Relative to the stage's `outputs/` folder."""
    what: str
    """What it is: `model`, `adapter`, `dataset`, `results`, `samples`, `file`."""
    dataset: Mapping[str, Any] | None = None
    """For a dataset: its entry of dataset_info.json, less `file_name`."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the fingerprint covers beside the resolved recipe."""

    files: tuple[Path, ...] = ()
    """Files and folders whose content counts (a dataset, a model on this disk, a task)."""
    functions: tuple[str, ...] = ()
    """Dotted paths whose source counts."""
    ignore: tuple[str, ...] = ()
    """Dotted keys of the recipe that do not change the result (`llamafactory.logging_steps`)."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Versions that count beside the engine's own."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows that a stage learns from, or measures a model on; what `residency.plan.guard` compares.

    Each is an absolute path, or the token of another stage's output.
    """

    training: tuple[str, ...] = ()
    evaluation: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Task → its data."""
    elsewhere: tuple[str, ...] = ()
    """What cannot be looked at, in words: rows on a hub, a task that brings its own."""


class StageKind(ABC):
    """One kind. Instances hold no state."""

    name: ClassVar[str]
    """The value of `kind:`."""

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Add what the schema cannot say of this kind. The engine's rules are checked apart."""

    def check_functions(self, recipe: Recipe, answers: Mapping[str, Answer], found: Diagnostics) -> None:
        """Add what shows only once the recipe's functions have been looked at.

        Args:
            recipe: The recipe.
            answers: Dotted path → what is known of it (`residency.recipe.dotted_probe.probe`).
            found: Takes the diagnostics.
        """

    @abstractmethod
    def engine(self, config: Mapping[str, Any]) -> Engine:
        """The engine that does this recipe."""

    @abstractmethod
    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        """What the stage leaves, by name. `${stages.NAME.outputs.KEY}` may use each key."""

    def inputs(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Inputs:
        """What the fingerprint covers beside the resolved recipe."""
        return Inputs()

    def rows(self, config: Mapping[str, Any], recipe_folder: Path, project: Path) -> Rows:
        """What it trains a model on, or measures it on; nothing for a stage that does neither."""
        return Rows()
