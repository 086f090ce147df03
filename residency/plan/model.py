"""A plan: what will run, in which order, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from residency.engines.base import Engine, Job, Launch, MemoryEstimate
from residency.engines.serving import Server
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
    services: tuple[str, ...] = ()
    """The services that it uses, each after those that it uses itself."""


@dataclass(slots=True)
class PlannedService:
    """A service that stages of a plan use."""

    name: str
    recipe: Recipe
    engine: Server | None
    """What serves; None for one that runs already."""
    job: Job
    """Its folder starts at that of the run, which is not known yet."""
    launch: Launch
    uses: tuple[str, ...]
    """Services that it uses itself, directly."""
    needs: tuple[str, ...]
    """Stages whose outputs it uses."""
    parts: Mapping[str, str]
    """What its answers depend on, as `PlannedStage.parts`."""
    url: str | None = None
    """The address of one that runs already."""
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def says(self) -> str:
        """What it is, in a few words."""
        return f"runs already at {self.url}" if self.engine is None else f"serve by {self.engine.name}"


class Command(Protocol):
    """What a stage and a service have in common: a command with its files and its environment."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def recipe(self) -> Recipe:
        """Its recipe."""

    @property
    def engine(self) -> Engine | None:
        """What does it."""

    @property
    def job(self) -> Job:
        """Its job."""

    @property
    def launch(self) -> Launch:
        """Its command and files."""

    @property
    def secrets(self) -> Mapping[str, str]:
        """Environment variable → name of the environment variable that holds the secret."""


@dataclass(slots=True)
class Plan:
    """The stages of one run, in the order in which they run."""

    recipe: Recipe
    stages: list[PlannedStage]
    profiles: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    warnings: list[str] = field(default_factory=list)
    services: list[PlannedService] = field(default_factory=list)
    """All that its stages use, each after those that it uses itself."""

    @property
    def ahead(self) -> list[PlannedStage]:
        """The stages that will run."""
        return [stage for stage in self.stages if stage.action in ("run", "resume")]

    @property
    def to_serve(self) -> list[PlannedService]:
        """The services that stages which will run use; the others are not started."""
        wanted = {name for stage in self.ahead for name in stage.services}
        return [service for service in self.services if service.name in wanted]

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
                    "services": list(s.services),
                }
                for s in self.stages
            ],
            "services": [
                {
                    "name": service.name,
                    "engine": service.engine and service.engine.name,
                    "url": service.url,
                    "starts": service.engine is not None and service in self.to_serve,
                    "needs": list(service.needs),
                    "uses": list(service.uses),
                    "command": list(service.launch.argv),
                    "used_by": [s.name for s in self.stages if service.name in s.services],
                }
                for service in self.services
            ],
        }
