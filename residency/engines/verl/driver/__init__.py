"""What runs inside verl's own processes: the CPU platform, the rollout, rewards, the advantage
estimator of HRPO, the record of each step. The one part of the package that imports torch and verl.

verl imports two of these by name (`VERL_USE_EXTERNAL_MODULES`), in its driver and in every worker:

- `driver.platform`: verl on a CPU. Registers the platform, the engines and the rollout.
- `driver.rollout`: the transformers rollout alone, for GPU machines without vLLM or SGLang.

Both reach into verl 0.9.1 and refuse any other version.
"""

from __future__ import annotations

SUPPORTED = "0.9.1"
"""The one version of verl whose insides this package knows."""


def require_supported_verl() -> None:
    """Raise RuntimeError unless the installed verl is the one that this package was written for.

    The metadata is read, not the module: this is called while verl is still being imported.
    """
    from importlib.metadata import version

    found = version("verl")
    if found != SUPPORTED:
        raise RuntimeError(
            f"verl {found} is installed; the CPU platform and the transformers rollout fit verl "
            f"{SUPPORTED} alone. Install verl=={SUPPORTED}, or run on a GPU with rollout vllm or sglang."
        )
