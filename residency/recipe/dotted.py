"""Checks the dotted paths of recipes: they import, name a function, and take what they are given.

A kind's schema says where dotted paths stand and how they are called: `"x-function":
{"positional": 1, "given": ["report"]}` is a function called with one value and the keyword
arguments under `args:` beside it, and perhaps with `report`, which a recipe cannot give.
`"positional": [names]` is one called with values of those names (`residency.recipe.dotted_keywords`).
`"x-tool": true` is a function that a model calls (`residency.recipe.dotted_tools`).
"""

from __future__ import annotations

import contextlib
from collections import abc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from residency.recipe import kind_schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.dotted_keywords import check_keywords
from residency.recipe.dotted_probe import SECONDS, Answer, probe
from residency.recipe.dotted_tools import check_tool
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping, Node, Scalar, Span
from residency.recipe.nodes import Sequence as List
from residency.recipe.schema import validate
from residency.recipe.schema_keys import Schema, part_span, resolve
from residency.recipe.suggest import closest
from residency.recipe.values import later

TRUSTED = ("rewards", "processors", "residency")
"""Packages that a recipe may name; `--trust` adds others, the file itself never."""

_ANYTHING: abc.Mapping[str, Any] = MappingProxyType({})


class Context(Protocol):
    """What is used of residency.engines.base.CheckContext."""

    @property
    def project(self) -> Path:
        """The folder that holds rewards/ and processors/."""

    @property
    def trust(self) -> tuple[str, ...]:
        """Packages given by `--trust`."""


@dataclass(frozen=True, slots=True)
class Use:
    """A dotted path in a recipe."""

    path: str
    node: Scalar
    args: Mapping | None
    """The keyword arguments given beside it."""
    positional: int
    given: tuple[str, ...]
    """Keyword arguments that the launcher may give."""
    tool: bool = False
    """True for a function that a model calls, with whatever arguments it likes."""
    keywords: tuple[str, ...] = ()
    """The names of the values that it is called with, where that is done by name."""


def check_dotted_paths(recipes: Sequence[Recipe], context: Context, found: Diagnostics) -> dict[str, Answer]:
    """Check every dotted path of the recipes; starts one child process, or none when all are known.

    Returns:
        What is known of each path that is trusted (`residency.recipe.dotted_probe.probe`).
    """
    uses: list[Use] = []
    for recipe in recipes:
        described = kind_schema.load(recipe.kind, context.project / "schemas")
        if described is not None:
            uses += functions(recipe.tree, described)
    return check_uses(uses, context, found)


def check_uses(
    uses: Sequence[Use],
    context: Context,
    found: Diagnostics,
    *,
    seconds: float = SECONDS,
    cache: Path | None = None,
) -> dict[str, Answer]:
    """Check dotted paths that were found before; what is known of each that is trusted."""
    trusted = []
    for use in uses:
        if is_trusted(use.path, context.trust):
            trusted.append(use)
            continue
        package, _, rest = use.path.partition(".")
        near = closest(package, TRUSTED)
        found.add(
            "untrusted",
            f"`{use.path}` is not code of this project, and a recipe must not run other code",
            use.node,
            hint=f"did you mean `{near[0]}.{rest}`?"
            if near
            else f"if you trust it, add `--trust {package}` to the command",
        )
    if not trusted:
        return {}
    answers = probe([use.path for use in trusted], context.project, seconds=seconds, cache=cache)
    for use in trusted:
        answer = answers[use.path]
        if "error" in answer:
            _explain(use, answer, found)
        elif use.tool:
            check_tool(use.path, use.node, answer, found)
        elif use.keywords:
            check_keywords(use.path, use.node, use.args, use.keywords, answer, found)
        elif answer["parameters"] is not None:
            check_call(use, answer["parameters"], found, answer.get("values", {}))
    return answers


def is_trusted(path: str, trust: Sequence[str] = ()) -> bool:
    """True for a path within rewards, processors, residency, or a package given by `--trust`."""
    return any(path.startswith(package.rstrip(".") + ".") for package in (*TRUSTED, *trust))


def functions(tree: Node, schema: Schema) -> list[Use]:
    """Every dotted path in a tree, found by the schema's `x-function` and `x-tool`."""
    found: dict[int, Use] = {}
    for use in _walk(tree, schema, schema, None):
        found.setdefault(id(use.node), use)
    return list(found.values())


def _walk(node: Node, schema: Any, root: Schema, beside: Mapping | None) -> Iterator[Use]:
    if not isinstance(schema, dict):
        return
    schema = resolve(schema, root)
    shape = schema.get("x-function")
    tool = schema.get("x-tool") is True
    if (
        (shape or tool)
        and isinstance(node, Scalar)
        and isinstance(node.value, str)
        and "." in node.value
        and not later(node)
    ):
        parts = node.value.split(".")
        if all(part.isidentifier() for part in parts):  # else the schema's pattern has said so
            args = beside.get("args") if beside is not None else None
            args = args if isinstance(args, Mapping) else None
            if tool:
                yield Use(node.value, node, None, 0, (), tool=True)
            elif isinstance(shape["positional"], list):
                yield Use(node.value, node, args, 0, (), keywords=tuple(shape["positional"]))
            else:
                yield Use(node.value, node, args, shape["positional"], tuple(shape.get("given", ())))
    for keyword in ("anyOf", "oneOf", "allOf"):
        for branch in schema.get(keyword, ()):
            yield from _walk(node, branch, root, beside)
    if isinstance(node, Mapping):
        properties = schema.get("properties", {})
        for key, entry in node.entries.items():
            below = properties.get(key, schema.get("additionalProperties"))
            yield from _walk(entry.value, below, root, node)
    elif isinstance(node, List):
        for item in node.items:
            yield from _walk(item, schema.get("items"), root, None)


def check_call(
    use: Use, parameters: list[list[Any]], found: Diagnostics, values: abc.Mapping[str, Any] = _ANYTHING
) -> None:
    """Bind the call to the parameters as Python would, and say what does not fit.

    Args:
        use: The dotted path with its arguments.
        parameters: [name, kind, has a default] each, kinds named as in `inspect`.
        found: Takes the diagnostics: `bad-arguments`, and those of a schema for a value.
        values: Parameter → the JSON Schema of its values.
    """
    places = [p for p in parameters if p[1] in ("POSITIONAL_ONLY", "POSITIONAL_OR_KEYWORD")]
    kinds = {kind for _, kind, _ in parameters}
    taken, open_places = places[: use.positional], places[use.positional :]
    if len(taken) < use.positional and "VAR_POSITIONAL" not in kinds:
        words = "no rows" if not places else f"{len(places)} values"
        message = f"`{use.path}` takes {words}; it is called with {use.positional}"
        found.add(
            "bad-arguments", message, use.node, hint="its first parameter takes the rows: `def f(rows, …)`"
        )
    by_name = [p for p in open_places if p[1] != "POSITIONAL_ONLY"]
    by_name += [p for p in parameters if p[1] == "KEYWORD_ONLY"]
    names = {name for name, _, _ in by_name}
    entries = use.args.entries if use.args is not None else {}
    for key, entry in entries.items():
        if key in use.given and key in names:
            message = f"`{key}` of `{use.path}` is given by the launcher, not by the recipe"
            found.add("bad-arguments", message, entry.key_span, hint="leave it out")
        elif key in {name for name, kind, _ in taken if kind != "POSITIONAL_ONLY"}:
            message = f"`{key}` of `{use.path}` takes the rows; a recipe cannot give it"
            found.add("bad-arguments", message, entry.key_span, hint="leave it out")
        elif key not in names and "VAR_KEYWORD" not in kinds:
            options = sorted(names - set(use.given))
            near = closest(key, options)
            hint = f"did you mean `{near[0]}`?" if near else "it takes " + (", ".join(options) or "none")
            found.add("bad-arguments", f"`{use.path}` takes no argument `{key}`", entry.key_span, hint=hint)
        elif key in values:
            validate(entry.value, values[key], found, name=key, key_span=entry.key_span)
    for name, kind, has_default in [*open_places, *(p for p in parameters if p[1] == "KEYWORD_ONLY")]:
        if not has_default and name not in use.given and (name not in entries or kind == "POSITIONAL_ONLY"):
            message = f"`{use.path}` needs the argument `{name}`"
            hint = f"write it as {{fn: {use.path}, args: {{{name}: …}}}}"
            found.add("bad-arguments", message, use.node, hint=hint)


def _explain(use: Use, answer: Answer, found: Diagnostics) -> None:
    """Say why a dotted path leads nowhere."""
    error, parts = answer["error"], use.path.split(".")
    if error in ("module", "name", "not-callable"):
        at = answer["at"]
        word = parts[at]
        above = ".".join(parts[:at])
        near = closest(word, answer["options"])
        start = len(above) + 1 if above else 0
        span = part_span(use.node.span, use.path, start, len(word))
        if error == "not-callable":
            message = f"`{use.path}` is not a function"
        elif error == "module":
            message = f"there is no module `{'.'.join(parts[: at + 1])}`"
        else:
            message = f"`{above}` has no `{word}`"
        hint = f"did you mean `{above + '.' if above else ''}{near[0]}`?" if near else None
        if hint is None and answer["options"]:
            hint = f"`{above}` has " + ", ".join(sorted(answer["options"])[:12])
        found.add("bad-dotted-path", message, span if use.node.via is None else use.node, hint=hint)
        return
    notes: list[tuple[str, Span]] = []
    if answer.get("file"):
        notes.append(("here", _place(answer, found)))
    module = ".".join(parts[:-1])
    hint = None
    if error == "syntax":
        message = f"`{module}` is not valid Python: {answer['message']}"
    elif error == "hang":
        message = f"importing `{module}` took longer than {answer['seconds']:g} s"
        hint = "a module must do its work in its functions, not when it is imported"
    elif error == "crash":
        message = f"importing `{module}` fails: {answer['message']}"
    else:
        message = f"importing `{module}` fails: {answer['kind']}: {answer['message']}"
        if answer.get("missing"):
            hint = (
                f"install the package that provides `{answer['missing'].split('.')[0]}`, or mend the import"
            )
    found.add("bad-dotted-path", message, use.node, hint=hint, notes=notes)


def _place(answer: Answer, found: Diagnostics) -> Span:
    """The place in a module's own text, which is kept for the snippet."""
    file, line, column = str(answer["file"]), int(answer["line"]), int(answer["column"])
    with contextlib.suppress(OSError):
        found.sources.setdefault(file, Path(file).read_text(encoding="utf-8", errors="replace"))
    return Span(file, line, column, line, column + 1)
