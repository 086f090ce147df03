"""`recipe.lock.yaml`: all that a run was made of, so that anyone can make it again.

Secrets stand in it by name alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from residency import files
from residency.plan.model import Plan, PlannedService, PlannedStage
from residency.recipe.model import TOKEN_OPEN
from residency.run import origin
from residency.run.environment import symbolic
from residency.run.redact import Redactor
from residency.run.rundir import RunRecord
from residency.run.stagefiles import dump_yaml
from residency.run.state import jsonable

FILE = "recipe.lock.yaml"

_HEAD = """\
# What this run was made of: the resolved recipe, the data, the models, the code, the versions, the seeds.
# Written by the launcher; secrets stand in it by name.
"""
_MODELS = {
    "model",
    "adapter",
    "model_name_or_path",
    "adapter_name_or_path",
    "ref_model",
    "ref_model_adapters",
    "reward_model",
}


def write(run_dir: Path, plan: Plan, record: RunRecord, redactor: Redactor, about: Mapping[str, Any]) -> None:
    """Write the lock. Called when the run begins and again when it ends, with what the stages recorded.

    Args:
        run_dir: The run's folder.
        plan: What is run.
        record: The run's own record.
        redactor: Masks secrets that were given where they should not be (`--set`).
        about: What `surroundings` found.
    """
    value = {
        "run": record.id,
        "name": record.name,
        "recipe_file": record.recipe,
        "command": record.command,
        "profiles": record.profiles,
        "set": record.set,
        "started": record.started,
        **about,
        "seeds": _given({s.name: dict(_seeds(s.job.config)) for s in plan.stages}),
        "sources": _given({s.name: _sources(s) for s in plan.stages}),
        "models": _given({s.name: dict(_models(s)) for s in plan.stages}),
        "files": _given({s.name: _parts(s, "file.") for s in plan.stages}),
        "functions": {k: v for s in plan.stages for k, v in _parts(s, "function.").items()},
        "secrets": _given({s.name: dict(s.secrets) for s in plan.stages}),
        **_given({"services": {service.name: _service(service, plan) for service in plan.services}}),
        "stages": {stage.name: _stage(stage) for stage in plan.stages},
        "recipe": symbolic(plan.recipe.config),
    }
    files.write_text(run_dir / FILE, _HEAD + dump_yaml(redactor.tree(jsonable(value))))


def surroundings(project: Path) -> dict[str, Any]:
    """The code, the machine and the versions."""
    return {"git": origin.git(project), "machine": origin.machine(), "versions": origin.versions()}


def _given(found: dict[str, Any]) -> dict[str, Any]:
    """Without the stages that have nothing."""
    return {name: value for name, value in found.items() if value}


def _stage(stage: PlannedStage) -> dict[str, Any]:
    return {
        "kind": stage.kind,
        "engine": stage.engine.name,
        "engine_version": stage.engine.version(),
        "key": stage.key,
        "fingerprint": stage.fingerprint,
        "needs": list(stage.needs),
        "recipe_files": [str(path) for path in stage.recipe.files or [stage.recipe.path]],
        "params": stage.recipe.params,
        "config": symbolic(stage.recipe.config),
    }


def _service(service: PlannedService, plan: Plan) -> dict[str, Any]:
    """A service as it was declared; its address in this run stands in run.json."""
    used_by = [stage.name for stage in plan.stages if service.name in stage.services]
    if service.engine is None:
        return {"url": service.url, "used_by": used_by}
    return {
        "engine": service.engine.name,
        "engine_version": service.engine.version(),
        "used_by": used_by,
        "recipe_files": [str(path) for path in service.recipe.files or [service.recipe.path]],
        "params": service.recipe.params,
        "parts": dict(service.parts),
        "secrets": dict(service.secrets),
        "config": symbolic(service.recipe.config),
    }


def _parts(stage: PlannedStage, prefix: str) -> dict[str, str]:
    return {
        name.removeprefix(prefix): value for name, value in stage.parts.items() if name.startswith(prefix)
    }


def _seeds(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every seed in a config, by its dotted key."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if (key == "seed" or str(key).endswith("_seed")) and not isinstance(item, Mapping):
                yield where, item
            else:
                yield from _seeds(item, where)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _seeds(item, f"{path}[{index}]")


def _sources(stage: PlannedStage) -> dict[str, Any]:
    """The stage's sources as the recipe names them, with what the stage recorded of them."""
    config = stage.job.config
    named = config.get("sources")
    pairs = named.items() if isinstance(named, Mapping) else ()
    found = {str(name): dict(source) for name, source in pairs if isinstance(source, Mapping)}
    if isinstance(config.get("source"), Mapping):
        found["source"] = dict(config["source"])
    for name, facts in _recorded(stage).items():
        found[name] = found.get(name, {}) | facts
    return found


def _recorded(stage: PlannedStage) -> dict[str, dict[str, Any]]:
    """Hashes and licences that a stage left in its report."""
    found: dict[str, dict[str, Any]] = {}
    for path in (stage.folder / "outputs" / "report.json", stage.folder / "report.json"):
        report = files.read_object(path)
        several = report.get("sources")
        pairs = list(several.items()) if isinstance(several, Mapping) else []
        for name, facts in [*pairs, ("source", report.get("source"))]:
            if isinstance(facts, Mapping):
                kept = {k: facts[k] for k in ("url", "member", "sha256", "bytes", "licence") if facts.get(k)}
                found[str(name)] = found.get(str(name), {}) | kept
    return found


def _models(stage: PlannedStage) -> Iterator[tuple[str, dict[str, Any]]]:
    """The models that a stage takes from outside the run: by revision, or by the hash of their files."""
    for key, value, block in _model_keys(stage.recipe.config):
        for name in value if isinstance(value, list) else str(value).split(","):
            name = str(name).strip()
            if not name or TOKEN_OPEN in name:
                continue
            local = (stage.recipe.folder / Path(name).expanduser()).absolute()
            if local.exists():
                yield key, {"path": name, "sha256": stage.parts.get(f"file.{local.name}")}
            else:
                asked = block.get("model_revision") or block.get("revision")
                yield key, {"name": name, "revision": asked, "commit": hub_commit(name, asked)}


def _model_keys(value: Any, path: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if key in _MODELS and isinstance(item, str | list):
                yield where, item, value
            else:
                yield from _model_keys(item, where)


def hub_commit(name: str, revision: str | None = None) -> str | None:
    """The commit of a hub model as the local hub cache has it, or None when it is not there."""
    home = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if not home:
        home = str(Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser() / "hub")
    ref = Path(home) / f"models--{name.replace('/', '--')}" / "refs" / (revision or "main")
    try:
        return ref.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None
