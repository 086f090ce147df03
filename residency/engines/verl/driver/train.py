"""verl's main program with a task runner that keeps our records: `python -m …driver.train` takes
verl's own command line, or waits for it (`residency.engines.verl.child`)."""

from __future__ import annotations

import json
import os
import sys

import hydra
import ray
from omegaconf import OmegaConf
from verl.trainer import main_ppo
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from verl.utils.device import auto_set_device

from residency.engines.verl.child import WAITS
from residency.engines.verl.training import PASSED

Runner = main_ppo.TaskRunnerV1.__ray_metadata__.modified_class
QUEUE = ("TransferQueueController", "transfer_queue")
"""The name and namespace of verl's queue: the same for every training."""


@ray.remote
class TaskRunner(Runner):
    """verl's own, with each trainer wrapped so that its steps are recorded."""

    def run(self, config):
        """Train."""
        from residency.engines.verl.driver import trainer

        trainer.install()
        super().run(config)


@hydra.main(config_path=None, config_name="verl", version_base=None)
def main(config):
    """Check the configuration as verl does, and train."""
    auto_set_device(config)
    validate_config(
        config=config,
        use_reference_policy=need_reference_policy(config),
        use_critic=need_critic(config),
    )
    if PASSED in os.environ:
        join(config)
    main_ppo.run_ppo(config, task_runner_class=TaskRunner)


def join(config) -> None:
    """Connect to the Ray cluster that the recipe names, whose workers get our environment.

    verl would do it too, but prints the environment, and knows nothing of what ours needs.
    """
    given = OmegaConf.to_container(config.ray_kwargs.ray_init, resolve=True)
    env = get_ppo_ray_runtime_env(config)
    env = {**env, **(given.pop("runtime_env", None) or {}), "env_vars": dict(env["env_vars"])}
    passed = (name for name in os.environ[PASSED].split(",") if name in os.environ)
    env["env_vars"] |= {name: os.environ[name] for name in passed} | {"TRANSFER_QUEUE_ENABLE": "1"}
    ray.init(runtime_env=env, **{name: value for name, value in given.items() if value is not None})
    try:
        ray.get_actor(QUEUE[0], namespace=QUEUE[1])
    except ValueError:
        return
    print(f"error: another training of verl runs on the Ray cluster {given['address']}", flush=True)
    print("hint: verl's queue has one name for all; wait for the other, or use a cluster of your own")
    sys.exit(4)


def orders() -> None:
    """Wait to be told the command line and what is still missing of the environment."""
    line = sys.stdin.readline()
    if not line:
        sys.exit(1)  # the stage's command has ended
    told = json.loads(line)
    os.environ.update(told["env"])
    sys.argv[1:] = told["arguments"]


if __name__ == "__main__":
    if os.environ.pop(WAITS, None):
        orders()
    main()
