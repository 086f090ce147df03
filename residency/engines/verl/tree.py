"""verl's configuration tree under `verl:`: nested or dotted keys as one flat mapping, and verl's defaults.

A user may write `actor_rollout_ref: {actor: {optim: {lr: 1e-6}}}`, or
`actor_rollout_ref.actor.optim.lr: 1e-6`, or a part of each; `+key`, `++key` and `~key` mean what they mean
on verl's command line. Everything that follows works on the flat form.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from residency.recipe import kind_schema
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.nodes import Mapping as Block
from residency.recipe.nodes import Node, Scalar, Span, plain
from residency.recipe.schema_keys import part_span

PREFIXES = ("++", "+", "~")
_MISSING = object()
_DEPTH = 16


@dataclass(frozen=True, slots=True)
class Key:
    """One leaf of the tree as the recipe writes it."""

    name: str
    """`actor_rollout_ref.actor.optim.lr`."""
    prefix: str
    """`+` or `++` for a key that verl's tree does not have, `~` for one that is taken out of it."""
    node: Node
    span: Span
    """Where the last part of the name is written."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf as plain values."""

    name: str
    prefix: str
    value: Any

    @property
    def key(self) -> str:
        """The name with its prefix, as verl's command line takes it."""
        return self.prefix + self.name


def flatten(block: Block, found: Diagnostics | None = None) -> dict[str, Key]:
    """Every leaf by its dotted name; of two for one name the later counts.

    Args:
        block: The `verl:` block.
        found: Takes a warning for each name that is written in two ways.
    """
    flat: dict[str, Key] = {}
    for key in _leaves(block, "", ""):
        earlier = flat.pop(key.name, None)
        if earlier is not None and found is not None:
            found.add(
                "duplicate-key",
                f"`{key.name}` is given twice, nested and dotted; this one counts",
                key.span,
                hint="write it once, or in the same way in both places",
                severity="warning",
                notes=[("and here", earlier.span)],
            )
        # What stood below a name that is now given as a whole, or above one now given in part, is gone.
        for other in [n for n in flat if n.startswith(key.name + ".") or key.name.startswith(n + ".")]:
            del flat[other]
        flat[key.name] = key
    return flat


def _leaves(block: Block, above: str, prefix: str) -> Iterator[Key]:
    for written, entry in block.entries.items():
        own, name = split_prefix(written)
        own = own or prefix
        path = f"{above}.{name}" if above else name
        if isinstance(entry.value, Block) and entry.value.entries:
            yield from _leaves(entry.value, path, own)
        else:
            last = name.rsplit(".", 1)[-1]
            span = part_span(entry.key_span, written, len(written) - len(last), len(last))
            yield Key(path, own, entry.value, span)


def split_prefix(key: str) -> tuple[str, str]:
    """(`+`, `a.b`) for `+a.b`; the prefix is empty for most keys."""
    for prefix in PREFIXES:
        if key.startswith(prefix):
            return prefix, key[len(prefix) :]
    return "", key


def settings(tree: Mapping[str, Any]) -> dict[str, Setting]:
    """The flat form of plain values (a resolved recipe's `verl:` block), by dotted name."""
    found: dict[str, Setting] = {}
    for setting in _plain_leaves(tree, "", ""):
        for other in [
            n for n in found if n.startswith(setting.name + ".") or setting.name.startswith(n + ".")
        ]:
            del found[other]
        found.pop(setting.name, None)
        found[setting.name] = setting
    return found


def _plain_leaves(tree: Mapping[str, Any], above: str, prefix: str) -> Iterator[Setting]:
    for written, value in tree.items():
        own, name = split_prefix(str(written))
        own = own or prefix
        path = f"{above}.{name}" if above else name
        if isinstance(value, Mapping) and value:
            yield from _plain_leaves(value, path, own)
        else:
            yield Setting(path, own, value)


def values(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted name → value, without the keys that `~` takes out."""
    return {name: s.value for name, s in settings(tree).items() if s.prefix != "~"}


def nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted names → nested blocks. A name with a prefix stays dotted, at the top.

    Raises:
        ValueError: a name is given a value and has names below it.
    """
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        if split_prefix(name)[0]:
            tree[name] = value
            continue
        *above, last = name.split(".")
        current = tree
        for part in above:
            current = current.setdefault(part, {})
            if not isinstance(current, dict):
                raise ValueError(f"{name} lies below a name that has a value")
        if isinstance(current.get(last), dict):
            raise ValueError(f"{name} has names below it")
        current[last] = value
    return tree


@functools.cache
def defaults() -> dict[str, Any]:
    """Dotted name → default of every leaf of verl's tree, interpolations as verl writes them.

    None stands for null and for what verl wants to be told (`???`).
    """
    found: dict[str, Any] = {}
    _collect(kind_schema.engine("verl"), "", found)
    return found


def _collect(schema: Mapping[str, Any], above: str, found: dict[str, Any]) -> None:
    for name, below in schema.get("properties", {}).items():
        path = f"{above}.{name}" if above else name
        if below.get("properties"):
            _collect(below, path, found)
        elif name != "_target_":
            found[path] = below.get("default")


def known(name: str) -> bool:
    """True for a leaf of verl's tree, or a key below one that takes any (`override_config.x`)."""
    leaves = defaults()
    parts = name.split(".")
    return name in leaves or any(
        isinstance(leaves.get(".".join(parts[:n])), dict) for n in range(1, len(parts))
    )


def resolved(name: str, given: Mapping[str, Any]) -> Any:
    """The value that verl would see: what is given, else its default with interpolations followed.

    Args:
        name: A dotted name.
        given: Dotted name → given value.
    """
    return _resolve(name, given, 0)


def _resolve(name: str, given: Mapping[str, Any], depth: int) -> Any:
    value = given[name] if name in given else defaults().get(name)
    return _follow(value, name, given, depth)


def _follow(value: Any, name: str, given: Mapping[str, Any], depth: int) -> Any:
    if not isinstance(value, str) or not value.startswith("${") or depth > _DEPTH:
        return value
    parts = _interpolation(value)
    if parts is None:
        return value
    target, fallback = parts
    path = _absolute(target, name)
    if path in given or path in defaults():
        reached = _resolve(path, given, depth + 1)
        # oc.select falls back only where there is no such key, or no value asked for yet.
        return reached
    if fallback is _MISSING:
        return None
    return _follow(fallback, name, given, depth + 1)


_SELECT = re.compile(r"^\$\{oc\.select:\s*([\w.]+)\s*(?:,(.*))?\}$", re.S)
_REFERENCE = re.compile(r"^\$\{(\.*[\w.]+)\}$")


def _interpolation(text: str) -> tuple[str, Any] | None:
    """(name, fallback) of `${name}` and `${oc.select:name,fallback}`; None for anything else."""
    if match := _SELECT.match(text):
        if match[2] is None:
            return match[1], _MISSING
        rest = match[2].strip()
        return match[1], rest if rest.startswith("${") else _literal(rest)
    if match := _REFERENCE.match(text):
        return match[1], _MISSING
    return None


def _literal(text: str) -> Any:
    """A fallback as OmegaConf's grammar reads it."""
    from residency.recipe.yaml_scalars import resolve

    if text == "[]":
        return []
    return resolve(text.lower() if text in ("True", "False", "None") else text) if text != "None" else None


def _absolute(target: str, name: str) -> str:
    """The absolute name of a relative one: `.x` is a neighbour, `..x` one of the block above."""
    rest = target.lstrip(".")
    dots = len(target) - len(rest)
    if not dots:
        return target
    above = name.split(".")[:-dots]
    return ".".join([*above, rest])


def as_plain(flat: Mapping[str, Key]) -> dict[str, Any]:
    """Dotted name → plain value of what is written, without the keys that `~` takes out."""
    return {name: plain(key.node) for name, key in flat.items() if key.prefix != "~"}


def place(flat: Mapping[str, Key], name: str) -> Node | Span | None:
    """Where a key's value is written (its name, for a block); None when it is not written."""
    key = flat.get(name)
    if key is None:
        return None
    return key.node if isinstance(key.node, Scalar) and key.node.value is not None else key.span
