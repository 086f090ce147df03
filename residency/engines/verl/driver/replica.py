"""What stands between verl and the rollout server: its launch, and the weights' way to it."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from verl.plugin.platform import get_platform
from verl.utils.torch_dtypes import PrecisionType
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica

from residency.engines.verl.driver.server import Server, ServerSettings
from residency.engines.verl.driver.weights import buckets
from residency.engines.verl.hardware import ROLLOUT


def _server_name(replica: int) -> str:
    """The actor's name; Ray keeps names apart by job."""
    return f"{ROLLOUT}_server_{replica}"


def _servers(config: Any) -> int:
    """Servers of a run: one a rank, since a model is never split here."""
    split = (
        config.tensor_model_parallel_size * config.data_parallel_size * config.pipeline_model_parallel_size
    )
    if split != 1:
        raise ValueError(
            "the transformers rollout does not split a model: set actor_rollout_ref.rollout."
            "tensor_model_parallel_size, data_parallel_size and pipeline_model_parallel_size to 1"
        )
    return int(os.environ.get("WORLD_SIZE", "1"))


class Replica(RolloutReplica):
    """Launches one server next to its training worker."""

    async def launch_servers(self) -> None:
        """Start the server and wait until it has its model."""
        _servers(self.config)
        if self.is_reward_model or self.is_teacher_model:
            raise ValueError("the transformers rollout serves the policy alone, no reward or teacher model")
        worker = self.workers[0]
        node, visible = await worker.__ray_call__.remote(
            lambda self: (ray.get_runtime_context().get_node_id(), os.environ.get("CUDA_VISIBLE_DEVICES"))
        )
        device = "cuda" if get_platform().device_name == "cuda" else "cpu"
        server = (
            ray.remote(Server)
            .options(
                name=_server_name(self.replica_rank),
                num_cpus=0,
                max_concurrency=self.max_concurrency,
                scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False),
                runtime_env={"env_vars": dict.fromkeys(get_platform().ray_noset_envvars(), "1")},
            )
            .remote(self._settings(device, visible), self.replica_rank)
        )
        self.servers = [server]
        self._server_handle = server
        self._server_address = await server.ready.remote()

    def _settings(self, device: str, visible: str | None) -> ServerSettings:
        rollout, model = self.config, self.model_config
        dtype = str(PrecisionType.to_dtype(rollout.dtype)).removeprefix("torch.")
        return ServerSettings(
            model=str(model.get("local_path") or model.get("path")),
            device=device,
            dtype=dtype,
            from_training=rollout.load_format == "dummy",
            prompt_length=rollout.prompt_length,
            response_length=rollout.response_length,
            max_model_len=rollout.max_model_len,
            max_num_seqs=rollout.max_num_seqs,
            prefill_tokens=rollout.max_num_batched_tokens,
            seed=rollout.seed,
            ignore_eos=rollout.ignore_eos,
            frees_memory=rollout.free_cache_engine,
            log_probs="raw_logprobs" if rollout.logprobs_mode == "raw_logprobs" else "processed_logprobs",
            trust_remote_code=bool(model.get("trust_remote_code", False)),
            overrides=dict(model.get("override_config") or {}),
            visible_devices=visible if device == "cuda" else None,
        )


class Adapter(BaseRollout):
    """Lives in each training worker; rank 0 hands the weights to every server."""

    async def resume(self, tags: list[str]) -> None:
        """Nothing to do: weights are mapped as they come."""

    async def release(self) -> None:
        """Nothing to do: servers release what they hold when they are put to sleep."""

    @torch.no_grad()
    async def update_weights(
        self,
        weights: Generator[tuple[str, torch.Tensor], None, None],
        wire_format: str = "named_tensors",
        global_steps: int | None = None,
        peft_config: Any = None,
        **_: Any,
    ) -> None:
        """Hand the policy's weights to the servers.

        Raises:
            ValueError: a LoRA that is not merged, or a transport that this rollout does not have.
        """
        if wire_format != "named_tensors":
            raise ValueError(f"the transformers rollout takes whole weights, not {wire_format}")
        if peft_config is not None:
            raise ValueError(
                "the transformers rollout needs LoRA merged: set actor_rollout_ref.model.lora.merge to true"
            )
        # Every rank reads every weight, since each is gathered from all ranks.
        if int(os.environ["RANK"]) != 0:
            for _name, _tensor in weights:
                pass
            return
        servers = [ray.get_actor(_server_name(i)) for i in range(_servers(self.config))]
        limit = self.config.checkpoint_engine.update_weights_bucket_megabytes << 20
        dtype = PrecisionType.to_dtype(self.config.dtype)
        skip = (
            frozenset(["lm_head.weight"]) if self.model_config.hf_config.tie_word_embeddings else frozenset()
        )
        for bucket in buckets(weights, dtype, limit, skip):
            mapped = ray.put(bucket)
            for server in servers:
                await server.load_weights.remote(mapped)
        for server in servers:
            await server.weights_complete.remote(global_steps)
