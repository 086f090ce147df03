"""A worker that dies ends the training at once.

verl's trainer waits for rollouts by looking into a queue, where those of a dead worker never come.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray
from ray.exceptions import RayActorError

SECONDS = 2.0
"""Between two looks."""


class WorkerDied(RuntimeError):
    """A process of the training is gone."""


class Watch:
    """Knows the actors that rollouts depend on. An actor that is busy is alive."""

    def __init__(self, actors: Mapping[str, Iterable[Any]]) -> None:
        """`actors`: what they are called → their handles."""
        self._actors = [(name, handle) for name, handles in actors.items() for handle in handles]
        self._asked: dict[int, Any] = {}
        self._next = 0.0

    def look(self) -> None:
        """Ask each actor for a sign of life, at most every few seconds, and never wait for it.

        Raises:
            WorkerDied: one of them is dead.
        """
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SECONDS
        for place, (name, handle) in enumerate(self._actors):
            asked = self._asked.get(place)
            if asked is None:
                self._asked[place] = handle.__ray_ready__.remote()
                continue
            done, _ = ray.wait([asked], timeout=0)
            if not done:
                continue
            del self._asked[place]
            try:
                ray.get(asked)
            except RayActorError as error:
                raise WorkerDied(f"a {name} died: {_first_line(error)}") from None


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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
