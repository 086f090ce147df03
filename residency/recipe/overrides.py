"""`--set a.b=c`: one value of a recipe, given on the command line and typed as YAML."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.merge import is_long, set_param
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span, copy
from residency.recipe.yaml_reader import read_text

_OPTION = "--set "
_SEGMENT = re.compile(r"""\.?(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|\[([^\]]*)\]|((?:[^.=\[\\"']|\\.)+))""")
_FIXED = {
    "extends": "`extends` is read before `--set`; make a recipe of its own instead",
    "profiles": "choose a profile with --profile NAME",
}


@dataclass(frozen=True, slots=True)
class Override:
    """One `--set`, read."""

    text: str
    path: tuple[str, ...]
    spans: tuple[Span, ...]
    """Where each part of the path stands in the option."""
    value: Node


def parse(text: str, found: Diagnostics) -> Override | None:
    """Read `a.b=c`. None, with a diagnostic, when it cannot be read.

    Parts of the key are parted by dots; a part that holds a dot is quoted (`"a.b"`) or its
    dot escaped (`a\\.b`); the item of a list is named by its index (`a.0` or `a[0]`).
    Nothing behind the `=` is null.
    """
    file = _OPTION + text
    found.sources[file] = file
    start = len(_OPTION)
    whole = Span(file, 1, start + 1, 1, len(file) + 1)
    path: list[str] = []
    spans: list[Span] = []
    at = 0
    while at < len(text) and text[at] != "=":
        match = _SEGMENT.match(text, at)
        if match is None or (text[at] in ".[" if at == 0 else text[at] not in ".["):
            break
        _, single, index, _ = match.groups()
        part = next(str(group) for group in match.groups() if group is not None)
        if index is not None:
            part = part.strip("\"'")
        path.append(part if single is not None else re.sub(r"\\(.)", r"\1", part))
        first = start + match.start() + (1 if text.startswith(".", at) else 0) + 1
        spans.append(Span(file, 1, first, 1, start + match.end() + 1))
        at = match.end()
    if not path or at >= len(text) or text[at] != "=":
        hint = "write --set KEY=VALUE, such as --set llamafactory.max_steps=10"
        if "=" not in text:
            message = f"`{text}` sets nothing: it has no `=`"
        else:
            key = text.split("=", 1)[0]
            message = f"`{key}` is no key" if key.strip() else "no key stands before the `=`"
        found.add("bad-override", message, whole, hint=hint)
        return None
    if path[0][:1] in "+~" and len(path[0]) > 1:
        advice = "keys that are not there yet are added without a sign" if path[0][0] == "+" else None
        found.add("bad-override", f"`{path[0][0]}` before a key has no meaning here", spans[0], hint=advice)
        return None
    value: Node | None
    value_text = text[at + 1 :]
    if not value_text.strip():
        value = Scalar(None, Span(file, 1, len(file) + 1, 1, len(file) + 1))
    else:
        value = read_text(value_text, file, found, column=start + at + 1)
        found.sources[file] = file
    if value is None:
        return None
    return Override(text, tuple(path), tuple(spans), value)


def apply(tree: Mapping, override: Override, found: Diagnostics) -> None:
    """Set one value in a tree, in place. A key that is not there is added."""
    path, spans = override.path, override.spans
    if path[0] in _FIXED:
        found.add("bad-override", f"`{path[0]}` cannot be set", spans[0], hint=_FIXED[path[0]])
        return
    if path[0] == "params" and len(path) >= 2:
        _set_param(tree, override, found)
        return
    _set(tree, 0, override, found)


def _set_param(tree: Mapping, override: Override, found: Diagnostics) -> None:
    """`params.x=…` and `params.x.part=…`."""
    _, name, *rest = override.path
    value = override.value
    if rest and rest[0] != "default":
        # A part of a value that is a list or a mapping.
        params = tree.get("params")
        old = params.get(name) if isinstance(params, Mapping) else None
        if old is not None and is_long(old) and isinstance(old, Mapping):
            old = old.get("default")
        holder = Mapping(override.spans[1], {name: Entry(name, override.spans[1], copy(old))} if old else {})
        _set(holder, 1, override, found)
        entry = holder.entries.get(name)
        if entry is None or old is None:
            set_param(tree, name, value, override.spans[1], found)
            return
        value = entry.value
    set_param(tree, name, value, override.spans[1], found)


def _set(current: Node, step: int, override: Override, found: Diagnostics) -> None:
    """Walk down from `current` along the rest of the path and set the value."""
    path, spans = override.path, override.spans
    if isinstance(current, Mapping):
        # A key may hold dots itself (`actor.optim.lr` in an engine's block).
        for stop in range(len(path), step, -1):
            key = ".".join(path[step:stop])
            if key in current.entries or stop == step + 1:
                break
        last = stop == len(path)
        entry = current.entries.get(key)
        if last:
            current.entries[key] = Entry(key, spans[step], copy(override.value))
            return
        below = entry.value if entry is not None else None
        if below is None or (isinstance(below, Scalar) and below.value is None):
            below = Mapping(spans[step])
            current.entries[key] = Entry(key, spans[step], below)
        _set(below, stop, override, found)
        return
    if isinstance(current, Sequence):
        index = int(path[step]) if re.fullmatch(r"-?\d{1,6}", path[step]) else None
        if index is None or not -len(current.items) <= index < len(current.items):
            count = len(current.items)
            found.add(
                "bad-override",
                f"`{'.'.join(path[:step])}` is a list of {count}; `{path[step]}` is no index in it",
                spans[step],
                hint=f"indexes run from 0 to {count - 1}" if count else None,
            )
            return
        if step + 1 == len(path):
            current.items[index] = copy(override.value)
        else:
            _set(current.items[index], step + 1, override, found)
        return
    found.add(
        "bad-override",
        f"`{'.'.join(path[:step])}` is a single value; nothing can be set below it",
        spans[step],
        notes=[("its value is written here", current.span)],
    )


def below(override: Override, block: str) -> Override:
    """The same for a key inside `block`, which the user did not name."""
    return replace(override, path=(block, *override.path), spans=(override.spans[0], *override.spans))
