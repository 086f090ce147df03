"""Plans of fake stages, without recipes: to see the runner at work without an engine."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency import files
from residency.engines.base import Engine, Job, Launch, Progress, Verified
from residency.errors import StageFailed
from residency.plan.model import Plan, PlannedStage
from residency.recipe import nodes, tokens
from residency.recipe.model import Recipe
from residency.run.store import Store
from residency.stages.base import Output

PROJECT = Path(__file__).resolve().parents[2]
WORKER = Path(__file__).with_name("fake_worker.py")


class FakeEngine(Engine):
    """Counts to `steps`."""

    name: ClassVar[str] = "fake"
    distribution: ClassVar[str] = "pytest"

    def prepare(self, job: Job) -> Launch:
        return Launch(
            argv=(sys.executable, "-I", "-S", str(WORKER)),
            files={"job.json": json.dumps(dict(job.config))},
            env={"FAKE": "a b"},
            stall_seconds=job.config.get("stall"),
        )

    def resume(self, job: Job) -> str | None:
        kept = files.read_json(job.folder / "checkpoint.json")
        return f"step {kept['step']}" if kept else None

    def finished(self, job: Job) -> bool:
        kept = files.read_json(job.folder / "checkpoint.json")
        return (
            bool(kept)
            and kept["step"] == job.config.get("steps", 5)
            and (job.outputs / "result.txt").is_file()
        )

    def _rows(self, job: Job) -> list[dict[str, Any]]:
        try:
            text = (job.folder / "steps.jsonl").read_text()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def progress(self, job: Job) -> Progress:
        rows = self._rows(job)
        metrics = {"loss": float("nan")} if job.config.get("spoilt") and rows else {}
        return Progress(rows[-1]["step"] if rows else None, job.config.get("steps", 5), metrics=metrics)

    def notices(self, job: Job) -> tuple[str, ...]:
        return ("2 of 9 rows were cut",) if job.config.get("cuts") else ()

    def reused(self, job: Job) -> tuple[str, ...]:
        if job.config.get("unwritable"):
            raise PermissionError("no")
        return ("its folder elsewhere was in use",) if job.config.get("warns") else ()

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        return self._rows(job)

    def verify(self, job: Job) -> Verified:
        if (job.folder / "checkpoint.json").exists():
            step = files.read_json(job.folder / "checkpoint.json")["step"]
            if step == job.config.get("steps", 5):
                figures = {"steps": step, "loss": 1 / step}
                return Verified({"result": job.outputs / "result.txt"}, figures, self.notices(job))
        raise StageFailed(f"stage {job.name} ended without an error, but did not count to its last step")


class AbsentEngine(FakeEngine):
    name: ClassVar[str] = "absent"
    distribution: ClassVar[str] = "no-such-distribution"
    install: ClassVar[str] = "make install-absent"


def make_plan(
    runs: Path,
    stages: Mapping[str, dict[str, Any]],
    *,
    name: str = "demo",
    fresh: bool = False,
    engine: Engine | None = None,
    overrides: tuple[str, ...] = (),
    gpus: int = 0,
) -> Plan:
    """A plan of fake stages, each needing the one before."""
    store = Store(runs)
    span = nodes.Span("demo.yaml", 1, 1, 1, 1)
    path = runs.parent / "demo.yaml"
    planned: list[PlannedStage] = []
    before: PlannedStage | None = None
    for stage, config in stages.items():
        config = {"kind": "fake", "name": stage, **config}
        if before is not None:
            config["input"] = tokens.make(f"stages.{before.name}.outputs.result")
        parts = {f"recipe.{key}": json.dumps(value) for key, value in config.items()}
        if before is not None:
            parts["recipe.input"] = before.key
        fingerprint = files.sha256_value(parts)
        choice = store.choose("fake", fingerprint, fresh=fresh)
        resolved = {k: v for k, v in config.items() if k != "input"}
        if before is not None:
            resolved["input"] = str(before.job.outputs / "result.txt")
        job = Job(stage, "fake", resolved, choice.folder, runs.parent, PROJECT, gpus=gpus)
        tree = nodes.from_plain(config, span)
        assert isinstance(tree, nodes.Mapping)
        found = engine or FakeEngine()
        secrets = {
            variable: target[0]
            for variable, value in (config.get("env") or {}).items()
            for kind, target in tokens.found_in(value)
            if kind == "secret"
        }
        before = PlannedStage(
            name=stage,
            kind="fake",
            recipe=Recipe(path, "fake", stage, tree),
            needs=(before.name,) if before else (),
            fingerprint=fingerprint,
            parts=parts,
            key=choice.key,
            folder=choice.folder,
            action=choice.action,
            reason=choice.reason,
            engine=found,
            job=job,
            launch=found.prepare(job),
            outputs={"result": Output("result.txt", "file")},
            secrets=secrets,
        )
        planned.append(before)
    whole = nodes.from_plain({"kind": "pipeline", "name": name, "stages": dict(stages)}, span)
    assert isinstance(whole, nodes.Mapping)
    return Plan(Recipe(path, "pipeline", name, whole), planned, overrides=overrides)
