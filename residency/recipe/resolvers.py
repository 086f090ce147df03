"""The resolvers that an interpolation may call: `${env:HOME}`, `${secret:NAME}`, `${oc.select:…}`.

`env` types its value as YAML does; OmegaConf's own `oc.env` always gives text.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from residency.recipe import tokens
from residency.recipe.grammar import Failed
from residency.recipe.nodes import Mapping, Node, plain
from residency.recipe.suggest import did_you_mean
from residency.recipe.yaml_scalars import resolve

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Caller(Protocol):
    """The text that calls a resolver."""

    def select(self, key: str) -> Node | None:
        """The value at a dotted key, or None."""

    def literal(self, value: Any) -> Node:
        """A Python value as a node at this text."""

    def warn(self, message: str) -> None:
        """Add a warning at this text."""


def call(name: str, arguments: Sequence[Any], caller: Caller) -> Node:
    """The value of `${name:arguments}`. Raises Failed."""
    entry = _RESOLVERS.get(name)
    if entry is None:
        hint = did_you_mean(name, _RESOLVERS)
        if "." in name and name.split(".")[0] != "oc":
            hint = "a `:` calls a resolver; for the value of a key leave it and what follows out"
        elif hint is None:
            hint = "there are " + ", ".join(f"`{known}`" for known in _RESOLVERS)
        raise Failed("bad-interpolation", f"there is no resolver `{name}`", hint=hint)
    function, least, most, usage = entry
    if not least <= len(arguments) <= most:
        raise Failed(
            "bad-interpolation", f"`{name}` does not take {_count(arguments)}", hint=f"write {usage}"
        )
    return function(caller, *arguments)


def _count(arguments: Sequence[Any]) -> str:
    return "1 argument" if len(arguments) == 1 else f"{len(arguments) or 'no'} arguments"


_UNSET: Any = object()


def _variable(name: Any, usage: str) -> str | None:
    """The value of an environment variable, or None when it is not set."""
    if not isinstance(name, str) or not name:
        raise Failed("bad-interpolation", f"`{name}` is no name of a variable", hint=f"write {usage}")
    value = os.environ.get(name)
    if value is not None and tokens.reserved(value):
        raise Failed(
            "reserved-character", f"the variable {name} holds ⟦ or ⟧, which are kept for the launcher"
        )
    return value


def _env(caller: Caller, name: Any, default: Any = _UNSET) -> Node:
    value = _variable(name, "${env:NAME,default}")
    if value is not None:
        return caller.literal(resolve(value))
    if default is _UNSET:
        raise _not_set(name, "env")
    return caller.literal(default)


def _oc_env(caller: Caller, name: Any, default: Any = _UNSET) -> Node:
    value = _variable(name, "${oc.env:NAME,default}")
    if value is not None:
        return caller.literal(value)
    if default is _UNSET:
        raise _not_set(name, "oc.env")
    return caller.literal(None if default is None else str(default))


def _not_set(name: str, resolver: str) -> Failed:
    return Failed(
        "undefined-interpolation",
        f"the environment variable {name} is not set",
        hint=f"set it, or give a default: ${{{resolver}:{name},DEFAULT}}",
    )


def _secret(caller: Caller, name: Any) -> Node:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Failed(
            "bad-interpolation", f"`{name}` is no name of a secret", hint="write ${secret:NAME_OF_A_VARIABLE}"
        )
    return caller.literal(tokens.make(f"secret:{name}"))


def _select(caller: Caller, key: Any, default: Any = _UNSET) -> Node:
    found = caller.select(str(key))
    if found is not None:
        return found
    return caller.literal(None if default is _UNSET else default)


def _mapping(caller: Caller, source: Any, name: str) -> dict[str, Any]:
    if isinstance(source, dict):
        return source
    found = caller.select(str(source))
    if not isinstance(found, Mapping):
        raise Failed("bad-interpolation", f"`{name}` needs a mapping, and `{source}` is none")
    value = plain(found)
    assert isinstance(value, dict)
    return value


def _keys(caller: Caller, source: Any) -> Node:
    return caller.literal(list(_mapping(caller, source, "oc.dict.keys")))


def _values(caller: Caller, source: Any) -> Node:
    return caller.literal(list(_mapping(caller, source, "oc.dict.values").values()))


def _create(caller: Caller, value: Any) -> Node:
    if isinstance(value, dict | list | None):
        return caller.literal(value)
    raise Failed("bad-interpolation", "`oc.create` takes a mapping or a list")


def _decode(caller: Caller, text: Any) -> Node:
    if text is None:
        return caller.literal(None)
    if not isinstance(text, str):
        raise Failed("bad-interpolation", "`oc.decode` takes a text")
    from omegaconf.errors import GrammarParseError
    from omegaconf.grammar_parser import parse
    from omegaconf.grammar_visitor import GrammarVisitor

    def refuse(*_: Any, **__: Any) -> Any:
        raise Failed("bad-interpolation", "`oc.decode` takes no interpolation inside its text")

    try:
        tree = parse(text, parser_rule="singleElement", lexer_mode="VALUE_MODE")
        return caller.literal(GrammarVisitor(refuse, refuse, memo=None).visit(tree))
    except GrammarParseError:
        raise Failed("bad-interpolation", f"`oc.decode` cannot read `{text}`") from None


def _deprecated(caller: Caller, key: Any, message: Any = None) -> Node:
    found = caller.select(str(key))
    if found is None:
        raise Failed("undefined-interpolation", f"`{key}` is not defined")
    text = str(message) if message else "this key is deprecated; use `$NEW_KEY`"
    caller.warn(text.replace("$NEW_KEY", str(key)).replace("$OLD_KEY", "this key"))
    return found


_RESOLVERS: dict[str, tuple[Callable[..., Node], int, int, str]] = {
    "env": (_env, 1, 2, "${env:NAME,default}"),
    "secret": (_secret, 1, 1, "${secret:NAME}"),
    "oc.env": (_oc_env, 1, 2, "${oc.env:NAME,default}"),
    "oc.select": (_select, 1, 2, "${oc.select:key,default}"),
    "oc.decode": (_decode, 1, 1, "${oc.decode:text}"),
    "oc.create": (_create, 1, 1, "${oc.create:[a,b]}"),
    "oc.dict.keys": (_keys, 1, 1, "${oc.dict.keys:key}"),
    "oc.dict.values": (_values, 1, 1, "${oc.dict.values:key}"),
    "oc.deprecated": (_deprecated, 1, 2, "${oc.deprecated:key}"),
}
