"""verl's FSDP engines, registered for a CPU."""

from __future__ import annotations

from types import ModuleType


def register(transformer_impl: ModuleType) -> None:
    """Register the language model and value model engines of `transformer_impl` for device `cpu`."""
    from verl.workers.engine.base import EngineRegistry

    for model_type, engine in {
        "language_model": transformer_impl.FSDPEngineWithLMHead,
        "value_model": transformer_impl.FSDPEngineWithValueHead,
    }.items():
        EngineRegistry.register(model_type=model_type, backend=["fsdp2"], device="cpu")(engine)
