"""A plan made by hand, as large as a view or a text needs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.base import Engine, Job, Launch, MemoryEstimate, Verified
from residency.plan.model import Action, Plan, PlannedStage
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Span
from residency.stages.base import Output

GIB = 1 << 30


class Tool(Engine):
    name = "llamafactory"
    distribution = "no-such-distribution"

    def version(self) -> str | None:
        return "0.9.5"

    def prepare(self, job: Job) -> Launch:
        return Launch(("llamafactory-cli", "train", "train.yaml"))

    def verify(self, job: Job) -> Verified:
        return Verified({})


def recipe(name: str, kind: str = "pipeline") -> Recipe:
    return Recipe(Path("recipes") / f"{name}.yaml", kind, name, Tree(Span(f"{name}.yaml", 1, 1, 1, 1)))


def stage(
    name: str,
    kind: str = "sft",
    action: Action = "run",
    *,
    reason: str = "not run before",
    needs: tuple[str, ...] = (),
    gpus: int = 0,
    memory: MemoryEstimate | None = None,
    secrets: Mapping[str, str] | None = None,
    config: Mapping[str, Any] | None = None,
) -> PlannedStage:
    folder = Path("/runs/store") / f"{kind}-1f0c2a"
    job = Job(name, kind, config or {}, folder, Path("recipes"), Path("."), gpus=gpus, threads=2)
    tool = Tool()
    return PlannedStage(
        name=name,
        kind=kind,
        recipe=recipe(name, kind),
        needs=needs,
        fingerprint="0" * 64,
        parts={},
        key=folder.name,
        folder=folder,
        action=action,
        reason=reason,
        engine=tool,
        job=job,
        launch=tool.prepare(job),
        outputs={"adapter": Output("adapter", "adapter")},
        secrets=secrets or {},
        memory=memory,
    )


def estimate(total_gib: int) -> MemoryEstimate:
    return MemoryEstimate(
        weights=total_gib * GIB // 2,
        gradients=0,
        optimizer=0,
        activations=total_gib * GIB // 2,
        overhead=0,
        parameters=8_030_000_000,
        trainable=20_971_520,
        notes=("bf16 weights",),
        advice=("llamafactory.cutoff_len: 1024", "llamafactory.gradient_checkpointing: true"),
    )


def plan(gpus: int = 0, memory: MemoryEstimate | None = None) -> Plan:
    stages = [
        stage("model", "export", "reuse", reason="finished before with the same inputs"),
        stage("data", "data"),
        stage("before", "evaluate", needs=("data", "model")),
        stage(
            "sft",
            "sft",
            "resume",
            reason="was interrupted",
            needs=("data", "model"),
            gpus=gpus,
            memory=memory,
            secrets={"WANDB_API_KEY": "MY_WANDB"},
        ),
        stage("after", "evaluate", "skip", reason="left out", needs=("data", "sft")),
    ]
    return Plan(recipe("quickstart"), stages, ("smoke",), ("params.steps=4",), ["2 GPUs are idle"])
