"""The environment of a stage's command, and the line that repeats the command by hand."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from residency.engines.base import Engine
from residency.errors import Missing, RecipeInvalid
from residency.plan.model import Command, Plan
from residency.recipe import tokens
from residency.recipe.model import TOKEN_CLOSE, TOKEN_OPEN
from residency.run.redact import Redactor, surely_secret

_SECRET = re.compile(f"{TOKEN_OPEN}secret:([^{TOKEN_CLOSE}]+){TOKEN_CLOSE}")
SERVE = "serve"
_OWN = ("RESIDENCY_MIRROR", "RESIDENCY_CACHE", "RESIDENCY_OFFLINE")


def added(stage: Command, devices: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """What a stage's command has beside the launcher's own environment.

    Secrets stand in it as tokens. Later ones win: our defaults, the devices given to the stage,
    the engine's needs, the recipe's `env:`.
    """
    job = stage.job
    found = {
        # Unbuffered, so that the log and the live view keep up.
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(max(1, job.threads)),
        # Spinning threads make a contended CPU many times slower.
        "OMP_WAIT_POLICY": environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "TOKENIZERS_PARALLELISM": environ.get("TOKENIZERS_PARALLELISM", "false"),
    }
    # As given by `--mirror` and the like: without them command.txt would fetch from elsewhere.
    found |= {name: environ[name] for name in _OWN if environ.get(name)}
    if environ.get("RESIDENCY_MIRROR") or environ.get("RESIDENCY_OFFLINE", "") not in ("", "0"):
        # A look-up without a network hangs for minutes.
        found |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    found |= {"CUDA_VISIBLE_DEVICES": ""} | dict(devices)
    found |= stage.launch.env
    found |= {name: tokens.make(f"secret:{source}") for name, source in stage.secrets.items()}
    given = job.config.get("env")
    if isinstance(given, Mapping):
        # A secret may be a part of a value: `Bearer ${secret:TOKEN}`.
        found |= {str(name): _text(value) for name, value in given.items() if value is not None}
    # residency, rewards and processors import, whatever the folder the command runs in.
    paths = [str(job.project), found.get("PYTHONPATH") or environ.get("PYTHONPATH", "")]
    found["PYTHONPATH"] = os.pathsep.join(
        dict.fromkeys(p for path in paths for p in path.split(os.pathsep) if p)
    )
    return found


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def resolve(values: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment, secrets filled in."""
    filled = {name: _SECRET.sub(lambda m: environ[m[1]], value) for name, value in values.items()}
    return {**environ, **filled}


def secrets_of(stage: Command) -> dict[str, str]:
    """The environment variables that a stage's secrets come from, each with what they are for."""
    found = {source: name for name, source in stage.secrets.items()}
    given = stage.job.config.get("env")
    if isinstance(given, Mapping):
        for name, value in given.items():
            for source in _SECRET.findall(_text(value)):
                found.setdefault(source, str(name))
    token = stage.job.config.get("token_env")
    if stage.recipe.kind == SERVE and token and not (isinstance(given, Mapping) and token in given):
        found.setdefault(str(token), "the token that clients must send")
    endpoint = stage.job.config.get("endpoint")
    key = endpoint.get("key_env") if isinstance(endpoint, Mapping) else None
    if key and not (isinstance(given, Mapping) and key in given):
        found.setdefault(str(key), "the key of the endpoint")
    return found


def check_secrets(plan: Plan, environ: Mapping[str, str]) -> None:
    """Raise Missing when a stage that will run wants a secret that is not set; names them all."""
    absent: dict[str, str] = {}
    commands: list[tuple[str, Command]] = [(f"stage {stage.name}", stage) for stage in plan.ahead]
    commands += [(f"service {service.name}", service) for service in plan.to_serve]
    for what, command in commands:
        for source in secrets_of(command):
            if not environ.get(source):
                absent.setdefault(source, what)
    if absent:
        listed = ", ".join(f"{name} ({what})" for name, what in absent.items())
        what = "a secret is" if len(absent) == 1 else f"{len(absent)} secrets are"
        raise Missing(f"{what} not set: {listed}", " ".join(["export", *(f"{name}=…" for name in absent)]))


def check_no_secret(
    stage: Command, environ: Mapping[str, str], config_text: str, what: str = "stage"
) -> None:
    """Raise RecipeInvalid when a secret's value stands in what would be written for the stage."""
    names = {*secrets_of(stage), *(n for n, value in environ.items() if surely_secret(n, value))}
    redactors = {name: Redactor([environ[name]]) for name in sorted(names) if environ.get(name)}
    texts = {
        "its recipe": config_text,
        "its command": "\0".join(stage.launch.argv),
        "its environment": "\0".join(stage.launch.env.values()),
        **stage.launch.files,
    }
    for name, redactor in redactors.items():
        for what, text in texts.items():
            if redactor.finds(text):
                raise RecipeInvalid(
                    f"{what} {stage.name}: the value of {name} stands in {what}, which is written to a file",
                    f"name it instead, under env: only, as ${{secret:{name}}}",
                )


def command_line(argv: Iterable[str], values: Mapping[str, str]) -> str:
    """A shell line that runs the command with its environment; secrets by name: `TOKEN="$TOKEN"`."""
    env = " ".join(f"{name}={_shell(value)}" for name, value in sorted(values.items()))
    return f"{env} {shlex.join(argv)}".strip()


def _shell(value: str) -> str:
    if not _SECRET.search(value):
        return shlex.quote(value)
    pieces = _SECRET.split(value)
    # Text and names alternate.
    quoted = (f'"${{{p}}}"' if i % 2 else shlex.quote(p) if p else "" for i, p in enumerate(pieces))
    return re.sub(r'^"\$\{(\w+)\}"$', r'"$\1"', "".join(quoted))


def symbolic(value: Any) -> Any:
    """A resolved tree as a recipe could say it: `${stages.a.outputs.b}`, and `\\${` where that is text."""
    if isinstance(value, str):
        return tokens.replace(value.replace("${", "\\${"), lambda body: f"${{{body}}}")
    if isinstance(value, Mapping):
        return {key: symbolic(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [symbolic(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def check_engines(commands: Iterable[Command]) -> None:
    """Raise Missing when an engine of a stage or service that will run is not installed; names them all."""
    absent: dict[str, tuple[Engine, list[str]]] = {}
    for command in commands:
        engine = command.engine
        if engine is not None and engine.version() is None:
            absent.setdefault(engine.name, (engine, []))[1].append(command.name)
    if absent:
        listed = "; ".join(
            f"{name} is not installed, which "
            + (f"stage {names[0]} needs" if len(names) == 1 else f"the stages {' and '.join(names)} need")
            for name, (_, names) in absent.items()
        )
        installs = dict.fromkeys(engine.install for engine, _ in absent.values())
        raise Missing(listed, " && ".join(installs))
