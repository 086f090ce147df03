"""A plan: what will run, in which order, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from residency.engines.base import Engine, Job, Launch, MemoryEstimate
from residency.recipe.model import Recipe
from residency.stages.base import Output

Action = Literal["reuse", "resume", "run", "skip"]


@dataclass(slots=True)
class PlannedStage:
    """One stage of a plan."""

    name: str
    kind: str
    recipe: Recipe
    needs: tuple[str, ...]
    """The stages whose outputs it uses, directly."""
    fingerprint: str
    """SHA-256 over `parts`, 64 hex digits."""
    parts: Mapping[str, str]
    """What the fingerprint covers, each with its own hash: `recipe.llamafactory.learning_rate`,
    `file.…/train.jsonl`, `function.processors.pubmed.read`, `engine`, `stage.data`."""
    key: str
    """The name of its folder in the store: `sft-1f0c…` (and `.2`, `.3` for later attempts anew)."""
    folder: Path
    action: Action
    """`reuse`: finished before; `resume`: begun before; `run`: from nothing; `skip`: left out by --only."""
    reason: str
    """Why, in a few words: `learning_rate changed: 1e-4 → 2e-4`."""
    engine: Engine
    job: Job
    launch: Launch
    outputs: Mapping[str, Output]
    secrets: Mapping[str, str] = field(default_factory=dict)
    """Environment variable → name of the environment variable that holds the secret."""
    memory: MemoryEstimate | None = None


@dataclass(slots=True)
class Plan:
    """The stages of one run, in the order in which they run."""

    recipe: Recipe
    stages: list[PlannedStage]
    profiles: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)

    def stage(self, name: str) -> PlannedStage:
        """The stage of that name; KeyError when there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def to_json(self) -> dict[str, Any]:
        """The plan as `plan --format json` prints it."""
        return {
            "recipe": str(self.recipe.path),
            "name": self.recipe.name,
            "profiles": list(self.profiles),
            "set": list(self.overrides),
            "warnings": self.warnings,
            "stages": [
                {
                    "name": s.name,
                    "kind": s.kind,
                    "engine": s.engine.name,
                    "action": s.action,
                    "reason": s.reason,
                    "needs": list(s.needs),
                    "key": s.key,
                    "folder": str(s.folder),
                    "command": list(s.launch.argv),
                    "gpus": s.job.gpus,
                    "threads": s.job.threads,
                    "memory": s.memory and s.memory.to_json(),
                    "sets": list(s.launch.sets),
                }
                for s in self.stages
            ],
        }
