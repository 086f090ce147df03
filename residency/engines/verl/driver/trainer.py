"""verl's trainers with a record of each step, samples without a reward left out of the loss, whole
checkpoints marked, kept and mirrored, the reference model renewed where the recipe asks for it, and
an end at once where a worker dies or the policy diverges.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transfer_queue as tq
from tensordict import TensorDict
from verl.protocol import DataProto
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1 import trainer_base
from verl.workers.utils.padding import response_to_nested

from residency.engines.verl import checkpoints, places
from residency.engines.verl.driver import alive, exact, hrpo, reference  # noqa: F401 - hrpo registers
from residency.engines.verl.driver import batch as current
from residency.engines.verl.driver.record import Record
from residency.files import write_json

_advantages = trainer_base.compute_advantage_for_multi_trajectories


class Recorded:
    """Laid over each of verl's trainers."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._folder = Path(os.environ["RESIDENCY_STAGE"])
        self._options: dict[str, Any] = json.loads(
            (self._folder / places.REWARDS).read_text(encoding="utf-8")
        )
        self._record = Record(self._folder, self._options)
        self._refreshes = reference.steps(
            int(os.environ["RESIDENCY_STEPS"]), self._options.get("num_iterations")
        )
        self._named = (0, 0)

    def fit(self, agent_loop_manager):
        """Train, and look after the workers while rollouts are waited for."""
        agent_loop_manager.generate_sequences = exact.announced(self, agent_loop_manager.generate_sequences)
        watch = alive.watched(self, agent_loop_manager)
        wait = self.replay_buffer._wait_for_next_poll

        def look(*args):
            watch.look()
            return wait(*args)

        self.replay_buffer._wait_for_next_poll = look
        try:
            super().fit(agent_loop_manager)
        except RuntimeError:
            watch.look(seconds=alive.SURE)  # a death explains more than what came of it
            raise

    def step(self, metrics, timing_raw):
        """One step, after which the policy's outputs must be numbers."""
        began = time.perf_counter()
        batch = super().step(metrics, timing_raw)
        self._record.stop_if_diverged(self.global_steps, metrics)
        self._stepped = (batch, metrics, timing_raw, began)
        return batch

    # ---- the order of things

    def _fetch_one_gen_batch(self):
        """verl's prompts, with names that tell their order."""
        batch = super()._fetch_one_gen_batch()
        if self.trainer_mode == "sync":  # others keep prompts in a checkpoint, by their names
            step, count = self._named if self._named[0] == self.global_steps else (self.global_steps, 0)
            exact.rename(batch, exact.uids(step, count, len(batch)))
            self._named = (step, count + len(batch))
        return batch

    def _balance_batch(self, batch, metrics, *args, **options):
        """verl's own, from rollouts in the order of their prompts; those that failed are counted."""
        batch.reorder(exact.order(list(batch.keys)))
        wanted = self.config.data.train_batch_size // self.parameter_sync_step
        wanted *= self.config.actor_rollout_ref.rollout.n
        metrics.update(self._record.stop_if_too_many_failed(self.global_steps, batch.keys, wanted))
        return super()._balance_batch(batch, metrics, *args, **options)

    # ---- rewards

    def _compute_advantage(self, batch, metrics):
        """Note the step's rewards; leave samples without one out of the groups and of the loss."""
        samples = self._samples(batch)
        metrics.update(self._record.step(self.global_steps, samples))
        current.set_groups({s.uid: s.group for s in samples if s.group is not None})
        missing = [i for i, sample in enumerate(samples) if sample.unavailable]
        self._record.stop_if_too_many(self.global_steps, samples)
        if not missing:
            return super()._compute_advantage(batch, metrics)
        _leave_out(batch, missing)
        trainer_base.compute_advantage_for_multi_trajectories = _without(missing)
        try:
            return super()._compute_advantage(batch, metrics)
        finally:
            trainer_base.compute_advantage_for_multi_trajectories = _advantages

    def _samples(self, batch):
        fields = ["uid", "prompts", "responses", "rm_scores", "extra_fields", "extra_info", "reward_model"]
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=fields)
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        return self._record.samples(data, batch.keys, real, self.tokenizer)

    def _val_metrics_update(self, data_sources, sample_uids, reward_extra_infos_dict, sample_turns, *_, **__):
        """verl's own figures over the samples that have a reward, and ours by component; keep some."""
        self._record.validation_rollouts(self.global_steps, *self._validated, reward_extra_infos_dict)
        found, there = self._record.validation(self.global_steps, reward_extra_infos_dict)
        infos = {
            name: [column[i] for i in there]
            for name, column in reward_extra_infos_dict.items()
            if name in ("reward", "acc")
        }
        if there:
            found |= super()._val_metrics_update(
                [data_sources[i] for i in there], [sample_uids[i] for i in there], infos, sample_turns
            )
        return found

    def _maybe_log_val_generations(self, inputs, outputs, scores):
        """verl's own; ours are kept when their rewards by component are known."""
        self._validated = (inputs, outputs)
        super()._maybe_log_val_generations(inputs=inputs, outputs=outputs, scores=scores)

    # ---- checkpoints

    def _save_checkpoint(self):
        """verl's own; then it is marked whole, copied to the mirror, and older ones are removed."""
        super()._save_checkpoint()
        step, path = self.global_steps, self._home / f"global_step_{self.global_steps}"
        exact.save(self, path)
        write_json(path / places.FIGURES, {"step": step, "data": self._figures()})
        checkpoints.mark(path)
        keep = int(self._options["keep"])
        for home in self._homes:
            if home != self._home:
                checkpoints.copy(checkpoints.Checkpoint(step, path), home, keep)
            checkpoints.prune(home, keep)

    def _figures(self):
        """The step's figures so far: verl logs them after the checkpoint, and may be killed before."""
        batch, metrics, timing, began = self._stepped
        found, timing = dict(metrics), {**timing, "step": time.perf_counter() - began}
        epoch = (self.global_steps - 1) // self.steps_per_epoch
        self._compute_metrics(batch, found, timing, global_steps=self.global_steps, epoch=epoch)
        return {name: float(v) for name, v in found.items() if isinstance(v, int | float | np.number)}

    @property
    def _home(self):
        return Path(self.config.trainer.default_local_dir)

    @property
    def _homes(self):
        """Where checkpoints are kept: the stage's folder, and the mirror."""
        mirror = self._options.get("mirror")
        return (self._home, Path(mirror)) if mirror else (self._home,)

    def _load_checkpoint(self):
        super()._load_checkpoint()
        if not self.global_steps:
            return
        trainer = self.config.trainer
        given = trainer.resume_from_path if trainer.resume_mode == "resume_path" else None
        exact.load(self, Path(given) if given else self._home / f"global_step_{self.global_steps}")
        self._load_reference()

    # ---- the reference model

    def _init_resource_pool_mgr(self):
        super()._init_resource_pool_mgr()
        if self._refreshes:
            for role, cls in self.role_worker_mapping.items():
                if role != Role.Critic:
                    self.role_worker_mapping[role] = reference.with_refresh(cls)

    def _load_reference(self):
        due = max((step for step in self._refreshes if step <= self.global_steps), default=None)
        if due is None or not self.use_reference_policy:
            return
        folder = checkpoints.reference(self._home, due)
        if checkpoints.reference_whole(folder):
            self.ref_policy_wg.load_reference(str(folder))
        elif due == self.global_steps:
            self._refresh_reference()  # stopped after the checkpoint, before the refresh
        else:
            raise RuntimeError(f"{folder}, the reference model since step {due}, is not there")

    def on_step_end(self):
        """Weights to the rollout; at the end of an iteration also to the reference model."""
        super().on_step_end()
        if self.global_steps in self._refreshes and self.use_reference_policy:
            self._refresh_reference()

    def _refresh_reference(self):
        with checkpoints.new_reference(self._home, self.global_steps) as part:
            self.ref_policy_wg.refresh_reference(str(part))
        for home in self._homes[1:]:
            checkpoints.copy_reference(self._home, home, self.global_steps)
        print(f"the reference model is now that of step {self.global_steps}", flush=True)


def install() -> None:
    """Put the record over every trainer that verl knows."""
    for name, cls in list(trainer_base.TRAINER_REGISTRY.items()):
        if not issubclass(cls, Recorded):
            trainer_base.TRAINER_REGISTRY[name] = type(f"Recorded{cls.__name__}", (Recorded, cls), {})


def _leave_out(batch, missing: list[int]) -> None:
    """Set the masks of samples without a reward to 0: no term of the loss counts their tokens."""
    keys = [batch.keys[i] for i in missing]
    data = tq.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=["response_mask"])
    mask = data["response_mask"]
    none = response_to_nested(torch.zeros_like(mask.to_padded_tensor(padding=0)), mask)
    fields = TensorDict({"response_mask": none, "loss_mask": none.clone()}, batch_size=len(keys))
    tq.kv_batch_put(keys=keys, partition_id=batch.partition_id, fields=fields)


def _without(missing: list[int]):
    """verl's advantages over the samples that have a reward; 0 for the others."""

    def compute(data: DataProto, batch_keys: list[str], **options: Any) -> DataProto:
        there = np.setdiff1d(np.arange(len(data)), missing)
        found = _advantages(data.select_idxs(there), [batch_keys[i] for i in there], **options)
        for name in ("advantages", "returns"):
            part = found.batch[name]
            whole = torch.zeros((len(data), *part.shape[1:]), dtype=part.dtype)
            whole[there] = part
            data.batch[name] = whole
        return data

    return compute
