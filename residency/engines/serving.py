"""What an engine is that serves: its command runs until it is stopped, and says where it listens."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any, ClassVar

from residency import engines
from residency.engines.base import Engine, Job, Verified
from residency.errors import StageFailed
from residency.files import read_json
from residency.serving import ADDRESS

HOST, PORT = "127.0.0.1", 8000
HEALTH_SECONDS, RESTARTS = 600.0, 3
HEALTH_EVERY, HUNG_SECONDS = 10.0, 120.0
"""Seconds between two looks at a service in use; seconds without a good answer until it counts as hung."""


class Server(Engine):
    """An engine that a recipe of kind `serve` names.

    Its command listens at RESIDENCY_PORT where that is set, else at the recipe's `port`, and writes
    address.json. It binds the port itself: one that was looked up before could be gone by then.
    """

    needs_block: ClassVar[bool] = True
    """Whether a recipe must have the engine's own block."""
    takes_model: ClassVar[bool] = False
    """Whether it serves a model: the recipe's `model`, and `adapter` on top of it."""
    health: ClassVar[str] = "/health"
    """The path that answers 200 once it serves."""
    sources: ClassVar[tuple[str, ...]] = ()
    """Modules whose code decides what it answers."""

    def address(self, job: Job) -> str | None:
        """Where it listens, `http://127.0.0.1:41234`; None when it has not said so yet."""
        try:
            found = read_json(job.folder / ADDRESS)
        except (OSError, ValueError):
            return None
        url = found.get("url") if isinstance(found, dict) else None
        return url if isinstance(url, str) else None

    def inputs(self, config: dict[str, Any], recipe_folder: Path, project: Path) -> tuple[Path, ...]:
        """Files and folders on this disk that decide what it answers."""
        return ()

    def ignored(self) -> tuple[str, ...]:
        """Dotted keys of its block that do not change what it answers."""
        return ()

    def example(self, url: str, job: Job) -> str:
        """A command that shows a user how to ask it."""
        return f"curl {url}{self.health}"

    def verify(self, job: Job) -> Verified:
        """A server leaves nothing."""
        raise StageFailed(f"{job.name} is a server, and ended")


def names() -> list[str]:
    """Every engine that serves: the folders that hold a module `serve`."""
    found = []
    for module in pkgutil.iter_modules(engines.__path__):
        folder = Path(next(iter(engines.__path__))) / module.name
        if module.ispkg and (folder / "serve.py").is_file():
            found.append(module.name)
    return sorted(found)


def get(name: str) -> Server:
    """The server of that name; KeyError when there is none."""
    if name not in names():
        raise KeyError(name)
    found = importlib.import_module(f"residency.engines.{name}.serve").SERVER
    assert isinstance(found, Server)
    return found
