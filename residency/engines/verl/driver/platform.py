# ruff: noqa: D102  (the methods are documented where verl declares them)
"""verl on a CPU: `VERL_PLATFORM=cpu VERL_USE_EXTERNAL_MODULES=residency.engines.verl.driver.platform`.

verl ships no CPU platform but takes one from outside. A Ray resource named GPU stands for a
rank (`ray_kwargs.ray_init.num_gpus`), since verl schedules by it.
"""

from __future__ import annotations

import resource
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from verl.plugin.platform import PlatformBase, PlatformRegistry

from residency.engines.verl.driver import patches, require_supported_verl, rollout
from residency.engines.verl.driver.hooks import when_imported

require_supported_verl()


def _peak_memory(*_: Any) -> int:
    """Peak resident memory of this process in bytes (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _nothing(*_: Any, **__: Any) -> None:
    """What has no meaning on a CPU."""


def _device_module() -> types.ModuleType:
    """Stands in for `torch.cuda`: memory is the process's own, the rest does nothing."""
    module = types.ModuleType("residency_cpu_device")
    for name, value in {
        "is_available": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": _nothing,
        "synchronize": _nothing,
        "empty_cache": _nothing,
        "ipc_collect": _nothing,
        "memory_allocated": _peak_memory,
        "memory_reserved": _peak_memory,
        "max_memory_allocated": _peak_memory,
        "max_memory_reserved": _peak_memory,
        "mem_get_info": lambda *_: (1, 1),
        "reset_peak_memory_stats": _nothing,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
        "get_device_name": lambda *_: "CPU",
        "manual_seed": torch.manual_seed,
        "manual_seed_all": torch.manual_seed,
    }.items():
        setattr(module, name, value)
    return module


_DEVICE = _device_module()


@PlatformRegistry.register(platform="cpu")
class CPUPlatform(PlatformBase):
    """Every rank is a process on the CPU; ranks talk through gloo."""

    @property
    def device_name(self) -> str:
        return "cpu"

    @property
    def vendor_name(self) -> str:
        return "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        return _DEVICE

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # never by detection: a machine with a GPU must say VERL_PLATFORM=cpu

    def current_device(self) -> str:  # type: ignore[override]
        return "cpu"  # verl only hands it to Tensor.to()

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return []

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


rollout.register()
for module, change in patches.ON_A_CPU.items():
    when_imported(module, change)
