"""A worker that dies ends the training at once.

verl's trainer waits for rollouts by looking into a queue, where those of a dead worker never come.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError

SECONDS = 2.0
"""Between two looks."""
SURE = 5.0
"""How long to wait for an answer once something has failed."""


class WorkerDied(RuntimeError):
    """A process of the training is gone."""


class Watch:
    """Knows the actors that rollouts depend on. An actor that is busy is alive."""

    def __init__(self, actors: Mapping[str, Iterable[Any]]) -> None:
        """`actors`: what they are called → their handles."""
        self._actors = [(name, handle) for name, handles in actors.items() for handle in handles]
        self._asked: dict[Any, tuple[str, Any]] = {}
        self._next = 0.0

    def look(self, seconds: float = 0.0) -> None:
        """Ask each actor for a sign of life, at most every few seconds.

        Args:
            seconds: How long to wait for the answers; otherwise those of the last look are read.

        Raises:
            WorkerDied: one of them is dead.
        """
        now = time.monotonic()
        if now < self._next and not seconds:
            return
        self._next = now + SECONDS
        for name, handle in self._actors:
            self._asked.setdefault(handle, (name, handle.__ray_ready__.remote()))
        done, _ = ray.wait(
            [asked for _, asked in self._asked.values()], num_returns=len(self._asked), timeout=seconds
        )
        for handle, (name, asked) in list(self._asked.items()):
            if asked not in done:
                continue
            del self._asked[handle]
            try:
                ray.get(asked)
            except RayActorError as error:
                pid = re.search(r"pid: (\d+)", str(error))
                raise WorkerDied(f"a {name} died" + (f" (process {pid[1]})" if pid else "")) from None


def watched(trainer: Any, agent_loops: Any) -> Watch:
    """The actors of a trainer that a rollout goes through."""
    servers = [s for r in trainer.llm_server_manager.get_replicas() for s in r.servers]
    return Watch(
        {
            "rollout server": servers,
            "rollout worker": agent_loops.agent_loop_workers,
            "reward worker": trainer.get_reward_handles() or (),
        }
    )
