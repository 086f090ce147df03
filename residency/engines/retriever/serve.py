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
from residency.paths import PROJECT
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import TOKEN_OPEN, Recipe
from residency.recipe.nodes import Scalar, at
from residency.recipe.tokens import is_known

CONFIG = "server.yaml"
MAIN = "residency.retrieval.server.main"
MANIFEST = "manifest.json"
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
        node = at(recipe.tree, ("retriever", "index"))
        if not isinstance(node, Scalar) or not isinstance(node.value, str) or not is_known(node):
            return
        if not node.value.startswith(("/", "./", "../", "~")):
            return
        path = Path(place(node.value, recipe.folder))
        if not path.exists():
            found.add("missing-file", f"the index {node.value} is not there", node)
        elif not (path / MANIFEST).is_file():
            found.add(
                "missing-file",
                f"{node.value} is no index: it holds no {MANIFEST}",
                node,
                hint="give the folder that an `index` stage left, its output `index`",
            )
        topk = at(recipe.tree, ("retriever", "topk"))
        most = at(recipe.tree, ("retriever", "max_topk"))
        values = [one.value if isinstance(one, Scalar) else None for one in (topk, most)]
        if topk is not None and all(type(value) is int for value in values) and values[0] > values[1]:
            found.add("conflicting-keys", "`topk` is above `max_topk`", topk)

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
        path = Path(place(named, recipe_folder)) / MANIFEST
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


def place(value: str, recipe_folder: Path) -> str:
    """The absolute path of an index that is named by one, or the name of a run as it is."""
    path = recipe_folder / Path(value).expanduser()
    if path.exists() or value.startswith(("/", "./", "../", "~")):
        return str(path.absolute())
    return value


SERVER = Retriever()
