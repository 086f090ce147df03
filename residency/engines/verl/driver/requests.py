"""Random numbers of a rollout's requests: which rollout of which prompt at which step decides them.

verl's requests bear random ids and none a seed. With one that follows from its place in the training
a request samples the same whichever server answers it and whenever it comes, so that a resumed
training repeats what it lost.
"""

from __future__ import annotations

import hashlib
from types import ModuleType
from typing import Any

from residency.engines.verl.hardware import ROLLOUT


def seed(*place: Any) -> int:
    """A seed below 2^31 from what tells one request from all others."""
    digest = hashlib.blake2b(repr(place).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 33


def seeded(agent_loop: ModuleType) -> None:
    """Give each rollout of verl's agent loops its seed."""
    original = agent_loop.AgentLoopWorker._run_agent_loop

    async def run(self: Any, sampling_params: dict[str, Any], trajectory: Any, **kwargs: Any) -> Any:
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
        return await original(self, sampling_params, trajectory, **kwargs)

    agent_loop.AgentLoopWorker._run_agent_loop = run
