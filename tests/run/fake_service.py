"""Services for plans of fake stages."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import Job, Launch
from residency.engines.serving import Server
from residency.plan.model import Plan, PlannedService
from residency.plan.services import FOLDER
from residency.recipe import nodes, tokens
from residency.recipe.model import Recipe

COMMAND = Path(__file__).with_name("fake_server.py")


class FakeServer(Server):
    name: ClassVar[str] = "fake-server"
    distribution: ClassVar[str] = "pytest"
    exits_as_launcher: ClassVar[bool] = True

    def prepare(self, job: Job) -> Launch:
        return Launch((sys.executable, str(COMMAND)), {"service.json": json.dumps(dict(job.config))})


def with_services(plan: Plan, services: dict[str, dict[str, Any]], used: dict[str, tuple[str, ...]]) -> Plan:
    """The plan with these services: name → config (`url`: it runs already), and stage → those it uses.

    A stage fetches each of its services when it starts, and again at each step.
    """
    span = nodes.Span("demo.yaml", 1, 1, 1, 1)
    for name, config in services.items():
        config = {"kind": "serve", "engine": "fake-server", **config}
        tree = nodes.from_plain(config, span)
        assert isinstance(tree, nodes.Mapping)
        url = config.get("url")
        engine = None if url else FakeServer()
        first = plan.stages[0].job
        job = Job(name, "serve", config, Path(FOLDER, name), first.recipe_folder, first.project)
        plan.services.append(
            PlannedService(
                name=name,
                recipe=Recipe(plan.recipe.path, "serve", name, tree),
                engine=engine,
                job=job,
                launch=engine.prepare(job) if engine else Launch(()),
                uses=tuple(target[0] for _, target in tokens.found_in(config.get("upstream"))),
                needs=(),
                parts={},
                url=url,
            )
        )
    for stage in plan.stages:
        stage.services = used.get(stage.name, ())
        direct = [name for name in stage.services if name in used[stage.name]]
        if direct:
            fetch = [tokens.make(f"services.{name}.url") for name in direct]
            config = {**stage.job.config, "fetch": fetch}
            stage.job = replace(stage.job, config=config)
            stage.launch = stage.engine.prepare(stage.job)
    return plan
