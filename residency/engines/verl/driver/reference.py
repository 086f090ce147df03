"""The reference model renewed at the end of each iteration: GRPO's outer loop.

With `num_iterations: I` the training's steps are split into I parts, and at the end of each but the
last the policy becomes the reference that KL is measured against (DeepSeekMath, arXiv 2402.03300,
algorithm 1). It is kept beside the checkpoints, so that a resumed training measures against the same.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from verl.single_controller.base.decorator import Dispatch, register


def steps(total: int, iterations: int | None) -> frozenset[int]:
    """The steps after which the reference is renewed."""
    if not iterations or iterations < 2:
        return frozenset()
    return frozenset(round(total * part / iterations) for part in range(1, iterations)) - {0, total}


def _local(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _named(worker) -> dict[str, torch.Tensor]:
    """The parameters of this rank, whatever they are sharded by."""
    return {name: _local(value.data) for name, value in worker.engine.module.named_parameters()}


def with_refresh(remote_cls):
    """verl's worker with two more methods. Both are called on every rank."""
    import ray

    base = getattr(remote_cls, "__ray_actor_class__", remote_cls)
    base = getattr(base, "__ray_actor_class__", base)

    class WithRefresh(base):
        """Holds actor and reference, sharded alike."""

        @register(dispatch_mode=Dispatch.ONE_TO_ALL)
        def refresh_reference(self, path: str) -> None:
            """The actor's weights become the reference's; this rank's part is kept in `path`."""
            actor, ref = _named(self.actor), _named(self.ref)
            with torch.no_grad():
                for name, value in ref.items():
                    value.copy_(actor[name])
            torch.save(
                {name: value.cpu().clone() for name, value in ref.items()},
                Path(path) / f"rank_{self.rank}.pt",
            )

        @register(dispatch_mode=Dispatch.ONE_TO_ALL)
        def load_reference(self, path: str) -> None:
            """The reference's weights as they were kept in `path`."""
            kept = torch.load(Path(path) / f"rank_{self.rank}.pt", weights_only=True)
            with torch.no_grad():
                for name, value in _named(self.ref).items():
                    value.copy_(kept[name])

    WithRefresh.__name__ = base.__name__
    return ray.remote(WithRefresh)
