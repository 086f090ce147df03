"""The services of a plan: what the stages that will run need, each with its own fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from residency import stages as kinds
from residency.engines.base import Engine, Job, Launch
from residency.engines.serving import Server
from residency.plan import fingerprint as fp
from residency.plan.hashing import FileHashes
from residency.plan.model import PlannedService
from residency.recipe import tokens
from residency.recipe.model import Service
from residency.recipe.services import used_directly

FOLDER = "services"
"""In a run: a folder for each service, with its log."""


def plan_service(
    service: Service,
    *,
    made: Mapping[str, PlannedService],
    stage_key: Callable[[str], str],
    concrete: Callable[[str], str],
    hashes: FileHashes,
    roots: tuple[Path, ...],
    packages: tuple[str, ...],
    project: Path,
    gpus: int,
    threads: int,
    secrets: Mapping[str, str],
) -> PlannedService:
    """Plan one service.

    Args:
        service: As the recipe declares it.
        made: The services that it uses itself, planned.
        stage_key: Store key of a stage, by name.
        concrete: What a token stands for, as far as it is known.
        hashes: Remembered file hashes.
        roots: Folders below which dotted paths are looked up.
        packages: Packages whose code belongs to a recipe.
        project: The project's folder.
        gpus: GPUs that it gets.
        threads: CPU threads that it may use.
        secrets: Environment variable → the variable that holds the secret.
    """
    recipe, config = service.recipe, service.recipe.config
    uses = tuple(used_directly(recipe))
    if service.url is not None:
        parts = {"url": service.url}
        engine: Engine | None = None
    else:
        kind = kinds.get(recipe.kind)
        engine = kind.engine(config)
        parts = fp.parts(
            config,
            kind.inputs(config, recipe.folder, project),
            engine=engine.name,
            engine_version=engine.version(),
            stage_key=stage_key,
            hashes=hashes,
            recipe_folder=recipe.folder,
            roots=roots,
            packages=packages,
        )
        for name in uses:
            parts |= parts_of(made[name])
    assert engine is None or isinstance(engine, Server)
    config.pop("services", None)
    job = Job(
        name=service.name,
        kind=recipe.kind,
        config=tokens.replace(config, concrete),
        folder=Path(FOLDER, *service.name.split("/")),
        recipe_folder=recipe.folder,
        project=project,
        gpus=gpus,
        threads=threads,
    )
    return PlannedService(
        name=service.name,
        recipe=recipe,
        engine=engine,
        job=job,
        launch=engine.prepare(job) if engine else Launch(()),
        uses=uses,
        needs=tuple(dict.fromkeys(ref.target[0] for ref in recipe.references if ref.kind == "stage")),
        parts=parts,
        url=service.url,
        secrets=secrets,
    )


def parts_of(service: PlannedService) -> dict[str, str]:
    """What a stage's result depends on of a service that it uses.

    Its address is no part of it: it changes from run to run. Of an external one nothing else is
    known, so that it counts.
    """
    return {f"service.{service.name}.{key}": value for key, value in service.parts.items()}


def address(url: str, key: str) -> str:
    """The `url`, `host` or `port` of a service at `url`."""
    parts = urlsplit(url)
    if key == "host":
        return parts.hostname or ""
    if key == "port":
        return str(parts.port or (443 if parts.scheme == "https" else 80))
    return url


def fill(value: Any, urls: Mapping[str, str]) -> Any:
    """Plain values with the addresses of the services whose `urls` are known in place of their tokens."""

    def known(token: str) -> str:
        kind, target = tokens.parse(token)
        if kind == "service" and target[0] in urls:
            return address(urls[target[0]], target[1])
        return tokens.make(token)

    return tokens.replace(value, known)


def filled(job: Job, urls: Mapping[str, str]) -> Job:
    """The job with the addresses of its services in its config."""
    return replace(job, config=fill(dict(job.config), urls)) if urls else job
