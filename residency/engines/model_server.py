"""What the engines that serve a model have in common: where it lies, its name, how it is asked."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import environments
from residency.engines import serving
from residency.engines.base import CheckContext, Job, Launch
from residency.engines.lm_eval import places
from residency.engines.log import last_error, last_line
from residency.paths import PROJECT
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Scalar, key_span
from residency.recipe.suggest import distance

CONFIG = "server.yaml"
_TYPO = 2
"""Edits that a misspelt key is away from the right one at most."""


class ModelServer(serving.Server):
    """An engine that answers OpenAI's API, below `/v1` of its address, for one model."""

    needs_block: ClassVar[bool] = False
    takes_model: ClassVar[bool] = True
    takes_adapter: ClassVar[bool] = True

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """The model and adapter are there."""
        starts = places.roots(recipe.folder, context.project)
        for key, needed in (("model", "config.json"), ("adapter", "adapter_config.json")):
            _check_folder(recipe, key, needed, starts, found)
        adapter = recipe.tree.get("adapter")
        if not self.takes_adapter and isinstance(adapter, Scalar) and adapter.value:
            found.add(
                "unused-key",
                f"the engine `{self.name}` takes no adapter here",
                key_span(recipe.tree, ("adapter",)) or adapter,
                hint="lay it into the model first, with `kind: export`",
                severity="error",
            )

    def inputs(self, config: dict[str, Any], recipe_folder: Path, project: Path) -> tuple[Path, ...]:
        """The model and adapter where they lie on this machine."""
        starts = places.roots(recipe_folder, project)
        given = [str(config[key]) for key in ("model", "adapter") if config.get(key)]
        found = [places.find(value, starts) for value in given if not places.is_token(value)]
        return tuple(path for path in found if path is not None)

    def example(self, url: str, job: Job) -> str:
        """A question to it."""
        body = {
            "model": name_of(job),
            "messages": [{"role": "user", "content": "Does aspirin prevent colorectal cancer?"}],
            "max_tokens": 100,
        }
        name = job.config.get("token_env")
        token = f' -H "Authorization: Bearer ${name}"' if name else ""
        said = shlex.quote(json.dumps(body))
        return (
            f"curl {url}/v1/chat/completions{token} -H 'Content-Type: application/json' -d {said}\n"
            f"  python launch.py chat {url}"
        )

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The error that it printed, or the last one of a traceback."""
        said = [line for line in log_tail.splitlines() if line.startswith("error: ")]
        if said:
            hints = [line for line in log_tail.splitlines() if line.startswith("hint: ")]
            return said[-1].removeprefix("error: "), hints[-1].removeprefix("hint: ") if hints else None
        if "out of memory" in log_tail.lower():
            return "the memory was not enough for the model", self.memory_hint
        return last_error(log_tail) or last_line(log_tail) or "it printed nothing", None

    memory_hint: ClassVar[str | None] = None
    """What to lower when the memory is not enough."""


class ForeignServer(ModelServer):
    """A server of another project, from an environment of its own, whose block takes any of its keys."""

    environment_name: ClassVar[str]
    """What `launch.py setup` makes."""

    def version(self) -> str | None:
        """In its own environment, else in the launcher's."""
        return environments.version(self.distribution, self.environment_name)

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """The model, and keys that are nearly right."""
        super().check(recipe, context, found)
        check_free_keys(recipe, self.name, found)

    def launch(
        self, job: Job, config: Mapping[str, Any], argv: list[str], *, env: Mapping[str, str], token_to: str
    ) -> Launch:
        """server.yaml with the command in it, and what starts that.

        Args:
            job: The stage.
            config: What `settings` gave.
            argv: The server's command, in which {host} and {port} stand for them.
            env: What its environment has besides.
            token_to: The variable by which it knows the token.
        """
        started = {
            **{key: config[key] for key in ("host", "port", "token_env") if key in config},
            "argv": argv,
            "env": {**env, "PYTHONPATH": ""},
            "token_to": token_to,
        }
        return Launch(
            argv=(sys.executable, "-m", "residency.engines.exec_server", CONFIG),
            files={CONFIG: as_text(started)},
            env=environment(job),
        )


def where(job: Job, key: str) -> str | None:
    """The absolute path, or the hub name, of the job's `model` or `adapter`."""
    value = job.config.get(key)
    return places.model(str(value), places.roots(job.recipe_folder, job.project)) if value else None


def name_of(job: Job) -> str:
    """The name that clients know the model by."""
    if job.config.get("served_model_name"):
        return str(job.config["served_model_name"])
    model = (where(job, "model") or "").rstrip("/")
    return model.rpartition("/")[2] if model.startswith("/") else model


def settings(job: Job, block: str) -> dict[str, Any]:
    """What every server's server.yaml begins with, and the engine's own keys."""
    config: dict[str, Any] = {
        "model": where(job, "model"),
        "served_model_name": name_of(job),
        "host": job.config.get("host") or serving.HOST,
        "port": job.config.get("port", serving.PORT),
    }
    if job.config.get("adapter"):
        config["adapter"] = where(job, "adapter")
    if job.config.get("token_env"):
        config["token_env"] = job.config["token_env"]
    return config | dict(job.config.get(block) or {})


def environment(job: Job) -> dict[str, str]:
    """The environment of a server: without the hub, where the model lies on this disk."""
    given = os.environ.get("PYTHONPATH")
    env = {
        "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
        "OMP_NUM_THREADS": str(max(1, job.threads)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
    }
    if all(Path(at).is_absolute() for key in ("model", "adapter") if (at := where(job, key))):
        env["HF_HUB_OFFLINE"] = "1"
    return env


def as_text(config: Mapping[str, Any]) -> str:
    """server.yaml."""
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)


def flags(block: Mapping[str, Any]) -> list[str]:
    """An engine's keys as its command line has them: `--max-model-len 4096`, `--no-enforce-eager`."""
    found: list[str] = []
    for key, value in block.items():
        flag = "--" + key.replace("_", "-")
        if key == "extra_args" or value is None:
            continue
        if value is True:
            found.append(flag)
        elif value is False:
            found.append("--no-" + flag.removeprefix("--"))
        elif isinstance(value, list):
            found += [flag, *map(_word, value)]
        else:
            found += [flag, _word(value)]
    return [*found, *map(str, block.get("extra_args") or ())]


def _word(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def check_free_keys(recipe: Recipe, block: str, found: Diagnostics) -> None:
    """Keys of a block whose engine has more than are listed: one that is nearly a known one is wrong.

    Args:
        recipe: The recipe.
        block: The engine's key.
        found: Takes the diagnostics.
    """
    from residency.recipe.kind_schema import load

    tree = recipe.tree.get(block)
    if not isinstance(tree, Tree):
        return
    schema = (load(recipe.kind) or {})["properties"][block]
    for key, entry in tree.entries.items():
        if key in schema["x-ours"]:
            found.add(
                "reserved-key",
                f"`{block}.{key}` is set by the launcher",
                entry.key_span,
                hint=schema["x-ours"][key],
            )
        elif key not in schema["properties"]:
            plain = key.replace("-", "_").lower()
            near = [one for one in schema["properties"] if distance(plain, one, _TYPO) <= _TYPO]
            if near:
                found.add(
                    "unknown-key",
                    f"unknown key `{key}` in `{block}`",
                    entry.key_span,
                    hint=f"did you mean `{near[0]}`? If not, hand it on by `extra_args`",
                )


def _check_folder(
    recipe: Recipe, key: str, needed: str, starts: tuple[Path, ...], found: Diagnostics
) -> None:
    node = recipe.tree.get(key)
    value = getattr(node, "value", None)
    if node is None or not isinstance(value, str) or not value or places.is_token(value):
        return
    path = places.find(value, starts)
    if path is None and places.is_path(value):
        at = places.place(value, starts)
        found.add("model-missing", f"there is no folder {at}", node, hint="a name on the hub is `owner/name`")
    elif path is not None and not (path / needed).is_file():
        adapter = key == "model" and (path / "adapter_config.json").is_file()
        hint = "it is an adapter: give it as `adapter`, and its base as `model`" if adapter else None
        found.add("model-missing", f"{path} holds no {needed}", node, hint=hint)
