"""The seeds of requests: how they come into verl's agent loops."""

from __future__ import annotations

import asyncio
import pickle
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from residency.engines.verl.driver import requests

cloudpickle = pytest.importorskip("cloudpickle")


class Worker:
    """As verl's own."""

    config = SimpleNamespace(
        actor_rollout_ref=SimpleNamespace(rollout=SimpleNamespace(name="transformers", seed=1))
    )

    async def _run_agent_loop(self, sampling_params: dict[str, Any], trajectory: Any, **_: Any) -> Any:
        return sampling_params


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    monkeypatch.setattr(requests, "_unseeded", None)
    module: Any = ModuleType("agent_loop")
    module.AgentLoopWorker = type("AgentLoopWorker", (Worker,), {})
    requests.seeded(module)
    return module.AgentLoopWorker  # type: ignore[no-any-return]


def test_a_request_has_the_seed_of_its_place(worker: type[Any]) -> None:
    place = {"step": 2, "sample_index": 5, "rollout_n": 0, "validate": False}
    found = asyncio.run(worker()._run_agent_loop({"top_p": 1.0}, place, session_id=1))
    assert found == {"top_p": 1.0, "seed": requests.seed(1, "training", 2, "5", 1)}


def test_ray_sends_its_name_and_not_a_copy(worker: type[Any]) -> None:
    # A copy would come with a copy of the registry of agent loops, in which the recipe's is not.
    assert pickle.loads(cloudpickle.dumps(worker._run_agent_loop)) is worker._run_agent_loop
