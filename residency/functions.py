"""The function behind a dotted path, at run time; `check` has looked at it in a process of its own."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from residency.errors import RecipeInvalid


def load(path: str) -> Callable[..., Any]:
    """The function that a dotted path names; it may be an attribute of a class.

    Raises:
        RecipeInvalid: There is none, or its module cannot be imported.
    """
    parts = path.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:depth])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise RecipeInvalid(
                f"importing `{name}` fails: {error}", f"install the package that provides `{error.name}`"
            ) from error
        except Exception as error:
            raise RecipeInvalid(f"importing `{name}` fails: {type(error).__name__}: {error}") from error
        for part in parts[depth:]:
            found = getattr(found, part, None)
        if callable(found):
            return found  # type: ignore[no-any-return]
        break
    raise RecipeInvalid(f"`{path}` is no function", "`launch.py check` says what was meant")
