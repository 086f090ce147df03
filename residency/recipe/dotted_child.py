"""Imports the modules behind dotted paths and tells what it found; run as a script, in a child.

Reads a JSON list of dotted paths from standard input and writes one JSON line per event to the
standard output that it was started with: `{"begin": path}` before a path is tried, then what
was found. What the modules print goes nowhere. It knows nothing of the rest of the package, so
that a broken module can break nothing but this process.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pathlib
import pkgutil
import re
import resource
import sys
import traceback
import types
import typing
from collections import abc
from typing import Any


def main() -> None:
    """Answer for every path, one after the other."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    request = json.load(sys.stdin)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    _limit(request["seconds"] * len(request["paths"]), request["bytes"])
    sys.path[0] = request["project"]  # in place of this file's folder, whose names would shadow others
    for path in request["paths"]:
        print(json.dumps({"begin": path}), file=out, flush=True)
        before = set(sys.modules)
        try:
            answer = look(path)
        except BaseException as error:
            # SystemExit and the like too: the module must not end the check.
            answer = failure(error, request["project"])
        answer["path"] = path
        answer["files"] = _files(before, path)
        print(json.dumps(answer), file=out, flush=True)
    out.flush()
    os._exit(0)  # threads that a module started must not keep the process


def look(path: str) -> dict[str, Any]:
    """What stands at a dotted path: its parameters, or what is there instead."""
    parts = path.split(".")
    module, depth = None, 0
    for depth in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:depth])
        try:
            module = importlib.import_module(name)
            break
        except ModuleNotFoundError as error:
            # Only when the module itself is what is missing, not something that it imports.
            if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
                raise
    if module is None:
        return {"error": "module", "at": 0, "options": []}
    found: Any = module
    for index in range(depth, len(parts)):
        try:
            found = getattr(found, parts[index])
        except AttributeError:
            missing = "module" if index < len(parts) - 1 and hasattr(found, "__path__") else "name"
            return {"error": missing, "at": index, "options": _names(found)}
    if not callable(found):
        return {"error": "not-callable", "at": len(parts) - 1, "options": _names(module)}
    return {
        "parameters": _parameters(found),
        "values": _values(found),
        "fields": getattr(found, "row_fields", None),
        "tool": _tool(found),
        "batched": bool(getattr(found, "batched", False)),
        "scores": _scores(found),
    }


def failure(error: BaseException, project: str) -> dict[str, Any]:
    """An exception of an import: its words, and the place in the project's own code."""
    answer: dict[str, Any] = {
        "error": "syntax" if isinstance(error, SyntaxError) else "import",
        "kind": type(error).__name__,
        "message": str(error).strip().split("\n")[0],
    }
    if isinstance(error, SyntaxError):
        answer.update(file=error.filename, line=error.lineno or 1, column=error.offset or 1)
        answer["message"] = error.msg
        return answer
    if isinstance(error, ModuleNotFoundError):
        answer["missing"] = error.name
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(project)]
    frames = [f for f in frames if f.filename != __file__]
    if frames:
        answer.update(
            file=frames[-1].filename, line=frames[-1].lineno or 1, column=(frames[-1].colno or 0) + 1
        )
    return answer


def _parameters(found: Any) -> list[list[Any]] | None:
    """[name, kind, has a default] of each parameter; None when the signature is not known."""
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return None
    return [[p.name, p.kind.name, p.default is not p.empty] for p in signature.parameters.values()]


def _scores(found: Any) -> list[float | None] | None:
    """The lowest and the highest score that a reward function states; None for one that its arguments set."""
    stated = getattr(found, "score_range", None)
    if not isinstance(stated, tuple) or len(stated) != 2:
        return None
    return [bound if isinstance(bound, int | float) else None for bound in stated]


def _tool(found: Any) -> dict[str, Any] | None:
    """What a model could be told of a function: None for what is none.

    `summary`: whether its docstring says what it does; `described`: the names under `Args:`;
    `typed`: the parameters whose annotation is one that JSON has.
    """
    if not inspect.isfunction(found):
        return None
    head, _, below = (inspect.getdoc(found) or "").partition("Args:")
    lines = [line for line in re.split(r"\n\s*(?:Returns|Raises):", below)[0].split("\n")[1:] if line.strip()]
    described = [match[1] for line in lines if (match := re.match(r"\s*(\w+):\s*\S", line))]
    try:
        hints = typing.get_type_hints(found)
    except Exception:
        hints = {}  # names that mean nothing at run time
    typed = [name for name, hint in hints.items() if _is_json(hint)]
    return {"summary": bool(head.strip()), "described": described, "typed": typed}


def _is_json(hint: Any) -> bool:
    """True for text, numbers, booleans, lists, objects, choices among constants, and unions of them."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return all(one is type(None) or _is_json(one) for one in inner)
    return origin in (typing.Literal, list, dict) or hint in (str, int, float, bool, list, dict)


def _values(found: Any) -> dict[str, Any]:
    """Parameter → the JSON Schema of its values, for those whose annotation says something."""
    called = inspect.unwrap(found.__init__ if isinstance(found, type) else found)  # type: ignore[misc]
    schemas = {}
    for name, annotation in getattr(called, "__annotations__", {}).items():
        one = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints = typing.get_type_hints(one, getattr(called, "__globals__", None), include_extras=True)
            schema = describe(hints[name])
            json.dumps(schema)
        except Exception:
            continue  # an annotation that means nothing at run time, or nothing that JSON knows
        if schema and name != "return":
            schemas[name] = schema
    return schemas


def describe(hint: Any) -> dict[str, Any]:
    """An annotation as a JSON Schema; {} where it allows anything, or nobody knows what.

    What stands beside the type in `Annotated` adds to it, if it has a `json_schema`
    (`residency.processing.Allowed`).
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        schema = describe(inner[0])
        for more in inner[1:]:
            schema = {**schema, **getattr(more, "json_schema", {})}
        return schema
    if origin in (typing.Required, typing.NotRequired):
        return describe(inner[0])
    if origin is typing.Literal:
        return {"enum": list(inner)}
    if origin in (typing.Union, types.UnionType):
        return _either([describe(one) for one in inner])
    if hint in _TYPES:
        return {"type": _TYPES[hint]}
    if typing.is_typeddict(hint):
        keys = typing.get_type_hints(hint, include_extras=True)
        marks = {key: typing.get_origin(value) for key, value in keys.items()}
        # `__required_keys__` does not see these marks where annotations are postponed.
        needed = {key for key in hint.__required_keys__ if marks[key] is not typing.NotRequired}
        needed |= {key for key, mark in marks.items() if mark is typing.Required}
        return {
            "type": "object",
            "properties": {key: describe(value) for key, value in keys.items()},
            "required": sorted(needed),
            "additionalProperties": False,
        }
    kind = origin or hint
    if not isinstance(kind, type):
        return {}
    if issubclass(kind, abc.Mapping):
        below = describe(inner[1]) if len(inner) == 2 else {}
        return {"type": "object"} | ({"additionalProperties": below} if below else {})
    if kind in _LISTS:
        each = inner[:1] if len(inner) == 1 or inner[1:] == (...,) else ()
        below = describe(each[0]) if each else {}
        return {"type": "array"} | ({"items": below} if below else {})
    return {}


def _either(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    """A schema for what fits one of several; {} when one of them allows anything."""
    if not all(schemas):
        return {}
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    nothing = {"type": "null"}
    if nothing in schemas and all("enum" in schema for schema in schemas if schema != nothing):
        return {"enum": [*(value for s in schemas for value in s.get("enum", ())), None]}
    return {"anyOf": schemas}


_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    type(None): "null",
    pathlib.Path: "string",
}
_LISTS = (list, tuple, set, frozenset, abc.Sequence, abc.Iterable, abc.Collection, abc.Set)


def _names(found: Any) -> list[str]:
    """The functions and submodules of a module, for "did you mean"; of what it imports nothing."""
    home = getattr(found, "__name__", None)
    names = [
        name
        for name, value in vars(found).items()
        if not name.startswith("_") and callable(value) and getattr(value, "__module__", home) == home
    ]
    if hasattr(found, "__path__"):
        names += [m.name for m in pkgutil.iter_modules(found.__path__)]
    return names


def _files(before: set[str], path: str) -> list[str]:
    """The files of the modules that the path's package loaded: when one changes, look again."""
    package = path.split(".")[0]
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and (name.split(".")[0] == package or (name not in before and "site-packages" not in file)):
            found.append(file)
    own = [f for f in found if not f.startswith(sys.base_prefix + os.sep + "lib")]
    return sorted(set(own))


def _limit(seconds: int, size: int) -> None:
    """Bound what a module may use: CPU seconds, bytes of its own memory; no core files."""
    for what, value in (
        (resource.RLIMIT_CPU, seconds + 5),
        (resource.RLIMIT_DATA, size),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(what, (value, value))
        except (ValueError, OSError):
            continue  # a lower limit is set already


if __name__ == "__main__":
    main()
