"""verl's main program with a task runner that keeps our records: `python -m …driver.train` takes
verl's own command line."""

from __future__ import annotations

import hydra
import ray
from verl.trainer import main_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from verl.utils.device import auto_set_device

Runner = main_ppo.TaskRunnerV1.__ray_metadata__.modified_class


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
    main_ppo.run_ppo(config, task_runner_class=TaskRunner)


if __name__ == "__main__":
    main()
