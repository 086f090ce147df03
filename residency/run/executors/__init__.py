"""Where stages run: one module each, whose `make()` gives its Executor."""

from __future__ import annotations

import importlib
import pkgutil

from residency.run.executors.base import Executor


def names() -> list[str]:
    """Every executor, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and m.name[0] != "_")


def get(name: str) -> Executor:
    """The executor of that name; KeyError when there is none."""
    if name not in names():
        raise KeyError(name)
    found = importlib.import_module(f"residency.run.executors.{name}").make()
    assert isinstance(found, Executor)
    return found
