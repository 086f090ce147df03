"""One module (or folder) per stage kind: what it takes, what it leaves, which engine does it.

A kind is found by its name: `kind: sft` is `residency.stages.sft`, whose `KIND` is an instance
of `residency.stages.base.StageKind`, and whose keys stand in `schemas/kinds/sft.json`.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil

from residency.stages.base import StageKind


def names() -> list[str]:
    """Every stage kind, in alphabetical order."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "base" and m.name[0] != "_")


@functools.cache
def get(kind: str) -> StageKind:
    """The stage kind of that name; KeyError when there is none."""
    if kind not in names():
        raise KeyError(kind)
    found = importlib.import_module(f"residency.stages.{kind}").KIND
    assert isinstance(found, StageKind)
    return found
