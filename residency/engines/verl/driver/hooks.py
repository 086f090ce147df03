"""Acting on a module when it is imported, and not before.

verl's external modules are loaded in every process that says `import verl`: reward workers,
queue actors, agent loops. Importing what is to be changed right there would give each of them
the trainer's whole import time. So a change waits for its module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec  # noqa: F401  (importlib.util must be loaded before the finder)
from types import ModuleType

Change = Callable[[ModuleType], None]


class _ChangingLoader(Loader):
    """Runs a module's own loader, then the changes that wait for it."""

    def __init__(self, loader: Loader, changes: list[Change]):
        self._loader = loader
        self._changes = changes

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        spec = module.__spec__
        if spec is not None:
            spec.loader = self._loader  # the module is as if it had been imported without us
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        for change in self._changes:
            change(module)


class _Finder(MetaPathFinder):
    """Finds awaited modules through the other finders and wraps their loaders."""

    def __init__(self) -> None:
        self.waiting: dict[str, list[Change]] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.waiting:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _ChangingLoader(spec.loader, self.waiting.pop(fullname))
                return spec
        return None


_finder = _Finder()


def when_imported(name: str, change: Change) -> None:
    """Call `change(module)` right after module `name` is first imported; at once if it already is."""
    if name in sys.modules:
        change(sys.modules[name])
        return
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    _finder.waiting.setdefault(name, []).append(change)
