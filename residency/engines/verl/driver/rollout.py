"""The transformers rollout in verl's registries: `actor_rollout_ref.rollout.name=transformers`.

On a CPU it comes with the platform. On GPUs without vLLM or SGLang load it alone:
`VERL_USE_EXTERNAL_MODULES=residency.engines.verl.driver.rollout`.
"""

from __future__ import annotations

from types import ModuleType

from residency.engines.verl.driver import quiet, requests, require_supported_verl
from residency.engines.verl.driver.hooks import when_imported
from residency.engines.verl.hardware import ROLLOUT

require_supported_verl()

_registered = False


def _add_adapter(base: ModuleType) -> None:
    base._ROLLOUT_REGISTRY[(ROLLOUT, "async")] = "residency.engines.verl.driver.replica.Adapter"


def _add_replica(replica: ModuleType) -> None:
    def load() -> type:
        from residency.engines.verl.driver.replica import Replica

        return Replica

    replica.RolloutReplicaRegistry.register(ROLLOUT, load)


def register() -> None:
    """Make the rollout known to verl, in this process, when verl looks for rollouts."""
    global _registered
    if _registered:
        return
    _registered = True
    when_imported("verl.workers.rollout.base", _add_adapter)
    when_imported("verl.workers.rollout.replica", _add_replica)
    when_imported("verl.experimental.agent_loop.agent_loop", requests.seeded)
    when_imported("verl.utils.tokenizer.continuous_token_wiring", quiet.once)


register()
