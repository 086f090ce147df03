"""Lets LLaMA-Factory start where torchaudio is not installed.

`llamafactory.data.mm_plugin` imports torchaudio at its top, though only audio data calls it.
With this folder on PYTHONPATH, that one module, in this process and in its children, gets a
stand-in. Nobody else sees it: to transformers torchaudio stays absent, as it is.
"""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

NEEDS_IT = "llamafactory.data.mm_plugin"


class _StandIn(types.ModuleType):
    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError("audio data needs torchaudio: pip install torchaudio")


def _import(name: str, *args: Any, **options: Any) -> object:
    """`import` as that one module sees it."""
    if name == "torchaudio":
        return _StandIn(name)
    return builtins.__import__(name, *args, **options)


class _Finder:
    """Finds the one module that needs the stand-in, as everyone would, and adds it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != NEEDS_IT:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.loader is None or importlib.util.find_spec("torchaudio") is not None:
            return spec
        run = spec.loader.exec_module

        def exec_module(module: types.ModuleType) -> None:
            # An `import` statement calls the `__import__` of its own module's builtins.
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
            run(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _run_hidden() -> None:
    """Run the sitecustomize that this one hides, if there is one."""
    own = __file__.rpartition("/")[0]
    rest = [entry for entry in sys.path if entry.rstrip("/") != own]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _Finder())
_run_hidden()
