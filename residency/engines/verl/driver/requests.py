"""Random numbers of a rollout's requests: which rollout of which prompt at which step decides them.

verl's requests bear random ids and none a seed. With one that follows from its place in the training
a request samples the same whichever server answers it and whenever it comes, so that a resumed
training repeats what it lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from residency.engines.verl.hardware import ROLLOUT


def seed(*place: Any) -> int:
    """A seed below 2^31 from what tells one request from all others."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 33


_unseeded: Callable[..., Awaitable[Any]] | None = None
"""verl's own method, of this process."""


def seeded(agent_loop: ModuleType) -> None:
    """Give each rollout of verl's agent loops its seed."""
    global _unseeded
    _unseeded = agent_loop.AgentLoopWorker._run_agent_loop
    agent_loop.AgentLoopWorker._run_agent_loop = _run


# No closure over verl's method: Ray would send that with the actor's class, by value, together with a
# copy of the globals that it reads, and the worker would not see the agent loops that it registers.
async def _run(self: Any, sampling_params: dict[str, Any], trajectory: Any, **kwargs: Any) -> Any:
    assert _unseeded is not None, "the driver is loaded wherever verl is"
    rollout = self.config.actor_rollout_ref.rollout
    if rollout.name == ROLLOUT:
        number = seed(
            rollout.seed,
            "validation" if trajectory["validate"] else "training",
            int(trajectory["step"]),
            str(trajectory["sample_index"]),
            int(kwargs.get("session_id", trajectory["rollout_n"])),
        )
        sampling_params = {**sampling_params, "seed": number}
    return await _unseeded(self, sampling_params, trajectory, **kwargs)
