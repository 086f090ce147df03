"""The retrieval server as the launcher starts it: an index behind `POST /retrieve`."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import __version__
from residency.engines import serving
from residency.engines.base import CheckContext, Job, Launch
from residency.engines.log import last_error, last_line
from residency.paths import PROJECT, runs_dir
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Scalar, at
from residency.recipe.tokens import is_known
from residency.retrieval import places

CONFIG = "server.yaml"
MAIN = "residency.retrieval.server.main"
HOW_FAST = (
    "max_topk",
    "max_queries",
    "max_query_chars",
    "max_body_mb",
    "batch",
    "wait_ms",
    "queue",
    "timeout",
    "threads",
    "device",
)
"""Keys that bound and speed up the server, and change no answer."""


class Retriever(serving.Server):
    """Runs `residency.retrieval.server.main` in the service's folder."""

    name: ClassVar[str] = "retriever"
    distribution: ClassVar[str] = "residency"
    exits_as_launcher: ClassVar[bool] = True
    sources: ClassVar[tuple[str, ...]] = (
        "residency.retrieval.searcher",
        "residency.retrieval.documents",
        "residency.retrieval.server.app",
    )

    def version(self) -> str | None:
        """The version of the project itself."""
        return __version__

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """An index that is named by a path is there."""
        topk = at(recipe.tree, ("retriever", "topk"))
        most = at(recipe.tree, ("retriever", "max_topk"))
        few, many = (one.value if isinstance(one, Scalar) else None for one in (topk, most))
        if topk is not None and type(few) is int and type(many) is int and few > many:
            found.add("conflicting-keys", f"`topk` is {few}, and `max_topk` allows {many}", topk)
        node = at(recipe.tree, ("retriever", "index"))
        if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node):
            _check_index(node, node.value, recipe.folder, found)

    def prepare(self, job: Job) -> Launch:
        """server.yaml, and the command that reads it."""
        block = dict(job.config.get("retriever") or {})
        if block.get("index"):
            block["index"] = place(str(block["index"]), job.recipe_folder)
        config: dict[str, Any] = {
            "host": job.config.get("host") or serving.HOST,
            "port": job.config.get("port", serving.PORT),
        }
        if job.config.get("token_env"):
            config["token_env"] = job.config["token_env"]
        config["threads"] = job.threads
        config |= block
        if "device" not in config:
            config["device"] = "cuda" if job.gpus else "cpu"
        given = os.environ.get("PYTHONPATH")
        env = {
            "PYTHONPATH": f"{PROJECT}{os.pathsep}{given}" if given else str(PROJECT),
            "OMP_NUM_THREADS": str(config["threads"]),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
        return Launch(argv=(sys.executable, "-m", MAIN, CONFIG), files={CONFIG: text}, env=env)

    def inputs(self, config: dict[str, Any], recipe_folder: Path, project: Path) -> tuple[Path, ...]:
        """The index's manifest: it holds the hashes of the documents, the model and the settings."""
        named = str((config.get("retriever") or {}).get("index") or "")
        if not named or TOKEN_OPEN in named:
            return ()
        path = Path(place(named, recipe_folder)) / places.MANIFEST
        return (path,) if path.is_file() else ()

    def ignored(self) -> tuple[str, ...]:
        """Bounds and batching."""
        return HOW_FAST

    def example(self, url: str, job: Job) -> str:
        """A question to it."""
        body = json.dumps(
            {"queries": ["does aspirin prevent colorectal cancer"], "topk": 3, "return_scores": True}
        )
        name = job.config.get("token_env")
        token = f' -H "Authorization: Bearer ${name}"' if name else ""
        return f"curl {url}/retrieve{token} -H 'Content-Type: application/json' -d {shlex.quote(body)}"

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The error that it printed, or the last one of a traceback."""
        said = [line for line in log_tail.splitlines() if line.startswith("error: ")]
        if said:
            hints = [line for line in log_tail.splitlines() if line.startswith("hint: ")]
            return said[-1].removeprefix("error: "), hints[-1].removeprefix("hint: ") if hints else None
        return last_error(log_tail) or last_line(log_tail) or "it printed nothing", None


def _check_index(node: Scalar, value: str, recipe_folder: Path, found: Diagnostics) -> None:
    if not value.startswith(("/", "./", "../", "~")):
        return  # perhaps a run that is still to be made
    path = Path(place(value, recipe_folder))
    if not path.exists():
        found.add("missing-file", f"the index {value} is not there", node)
    elif not (path / places.MANIFEST).is_file():
        found.add(
            "missing-file",
            f"{value} is no index: it holds no {places.MANIFEST}",
            node,
            hint="give the folder that an `index` stage left, its output `index`",
        )


def place(value: str, recipe_folder: Path) -> str:
    """The absolute path of the index that is named by its folder or by a run; else the value as it is."""
    found = places.find(value, runs_dir(), recipe_folder)
    if found is not None:
        return str(found)
    path = recipe_folder / Path(value).expanduser()
    return str(path.absolute()) if value.startswith((".", "/", "~")) or path.exists() else value


SERVER = Retriever()
