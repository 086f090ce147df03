"""The way from a file to a resolved `Recipe`.

What wins over what, from the weakest: files named by `extends`, the recipe, its profiles (each
shared one before the recipe's own of the same name), the keys that a pipeline lays over it, the
values that a pipeline passes, `--set`.
"""

from __future__ import annotations

import os
from collections import abc
from pathlib import Path

from residency.paths import PROJECT
from residency.recipe import kinds as known_kinds
from residency.recipe import other_files, plain_llamafactory, tokens
from residency.recipe import overrides as sets
from residency.recipe import params as parameters
from residency.recipe.compose import Composer, Profiles
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.interpolate import Resolver
from residency.recipe.merge import lay_over, set_param
from residency.recipe.model import Recipe
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Span, copy, from_plain, walk
from residency.recipe.suggest import closest

Arguments = abc.Mapping[str, Node] | Mapping


def load(
    path: Path,
    *,
    profiles: abc.Sequence[str] = (),
    overrides: abc.Sequence[str] = (),
    arguments: Arguments | None = None,
    overlay: Mapping | None = None,
    shared_profiles: Path | None = None,
    cwd: Path | None = None,
    kinds: abc.Collection[str] | None = None,
    inline: Mapping | None = None,
    scope: str = "",
    strict_profiles: bool = True,
    asked_at: Span | None = None,
) -> tuple[Recipe | None, Diagnostics]:
    """Read, compose and resolve one recipe.

    Args:
        path: The file, as the user named it.
        profiles: Names given by `--profile`; later ones win.
        overrides: `a.b=c` texts given by `--set`; later ones win.
        arguments: Values of parameters that a pipeline passes (`with:`), resolved.
        overlay: Keys that a pipeline lays over the recipe, resolved.
        shared_profiles: The folder of profiles shared by all; default `recipes/profiles`.
        cwd: Where the command was given; a relative `path` starts there.
        kinds: The kinds that there are; default those with a schema in `schemas/kinds`.
        inline: The document itself, for a recipe that stands inside the file `path`.
        scope: What stands before the names of stages in tokens: `outer/` in a nested pipeline.
        strict_profiles: True when a profile that neither the recipe nor the folder has is an
            error. A pipeline's profiles are checked by `residency.recipe.pipeline.expand`.
        asked_at: Where a pipeline names the file, for what is missing: the file, or a parameter.

    Returns:
        The recipe and what is wrong with it. There is a recipe whenever there is a tree that can
        be checked further, even with errors. A scalar that could not be resolved keeps its text,
        with `${`, and is not `literal`.
    """
    found = Diagnostics()
    file = str(path)
    path = Path(os.path.abspath((cwd or Path.cwd()) / path))
    composer = Composer(found)
    tree = composer.compose(path, file, asked_at) if inline is None else composer.adopt(inline, path, file)
    if tree is None:
        return None, found
    shared = shared_profiles or PROJECT / "recipes" / "profiles"
    if inline is None and (other := other_files.look(path, file, tree, shared)):
        return None, other_files.report(other, file, found)
    kind = _kind(tree, file, kinds, found)
    if kind is None:
        return None, found
    chosen = Profiles(tuple(profiles), shared, composer)
    tree = chosen.apply(tree, known_kinds.keys(kind))
    if strict_profiles and kind != known_kinds.PIPELINE:
        chosen.unknown()
    if overlay is not None:
        copied = copy(overlay)
        assert isinstance(copied, Mapping)
        tree = lay_over(tree, copied, found)
    _pass(tree, arguments, found)
    _set(tree, overrides, composer.plain, kind, found)

    declared = parameters.declare(tree, found, asked_at)
    document = Mapping(tree.span, {**tree.entries, "params": Entry("params", tree.span, declared.values)})
    is_pipeline = kind == known_kinds.PIPELINE
    resolved = Resolver(document, found, is_pipeline, scope, frozenset(declared.missing)).resolve()
    values = resolved.entries.pop("params").value
    assert isinstance(values, Mapping)
    recipe = Recipe(
        path=path,
        kind=kind,
        name=_name(resolved, path),
        tree=resolved,
        params=parameters.check(declared, values, found),
        declared=declared.params,
        references=[one for one in tokens.references(resolved) if one.path[:1] != ("services",)],
        files=composer.files,
        profiles=chosen.own,
        plain_llamafactory=composer.plain,
    )
    _check_secrets(recipe, values, found)
    return recipe, found


def _name(tree: Mapping, path: Path) -> str:
    node = tree.get("name")
    given = node.value if isinstance(node, Scalar) else None
    return given if isinstance(given, str) and given else path.stem


def _kind(tree: Mapping, file: str, given: abc.Collection[str] | None, found: Diagnostics) -> str | None:
    """The recipe's kind. A wrong one is reported; what was meant is taken when it is clear."""
    kinds = sorted(given) if given is not None else list(known_kinds.names())
    listed = "the kinds are " + ", ".join(f"`{name}`" for name in kinds)
    node = tree.get("kind")
    if node is None:
        guess = next((kind for key, kind in known_kinds.BY_BLOCK.items() if key in tree.entries), None)
        near = closest("kind", tree.entries)
        where = tree.entries[near[0]].key_span if near else Span(file, 1, 1, 1, 1)
        if near:
            hint: str | None = f"did you mean `kind` by `{near[0]}`?"
        else:
            hint = f"did you mean `kind: {guess}`? {listed}" if guess else listed
        found.add("missing-kind", "the recipe does not say its `kind`", where, hint=hint)
        return guess
    value = node.value if isinstance(node, Scalar) else None
    if isinstance(value, str) and (value in kinds or not kinds):
        return value
    meant = closest(value, kinds) if isinstance(value, str) else []
    shown = f"`{value}` is no kind of recipe" if isinstance(node, Scalar) else "`kind` must be a name"
    hint = f"did you mean `{meant[0]}`? {listed}" if meant else listed
    found.add("unknown-kind", shown, node, hint=hint)
    shown_by = {kind for key, kind in known_kinds.BY_BLOCK.items() if key in tree.entries}
    if not meant or meant[0] not in shown_by:
        return None  # Which keys it should have had is anyone's guess.
    tree.entries["kind"] = Entry("kind", tree.entries["kind"].key_span, from_plain(meant[0], node.span))
    return meant[0]


def _pass(tree: Mapping, arguments: Arguments | None, found: Diagnostics) -> None:
    """Give the parameters the values that a pipeline passes."""
    if isinstance(arguments, Mapping):
        for name, entry in arguments.entries.items():
            set_param(tree, name, copy(entry.value), entry.key_span, found)
    elif arguments is not None:
        for name, node in arguments.items():
            set_param(tree, name, copy(node), node.span, found)


def _set(tree: Mapping, texts: abc.Sequence[str], plain: bool, kind: str, found: Diagnostics) -> None:
    """Apply each `--set`."""
    for text in texts:
        override = sets.parse(text, found)
        if override is None:
            continue
        first = override.path[0]
        if plain and first not in plain_llamafactory.OUTSIDE:
            override = sets.below(override, plain_llamafactory.BLOCK)
        elif _names_a_param(override, tree, kind, found):
            override = sets.below(override, "params")
        sets.apply(tree, override, found)


def _names_a_param(override: sets.Override, tree: Mapping, kind: str, found: Diagnostics) -> bool:
    """Whether `--set NAME=…` means the parameter of that name.

    It does when the recipe declares one and its kind has no such key, or the key's value is that
    parameter. Else the key is set, with a warning that the parameter is not.
    """
    first, params = override.path[0], tree.get("params")
    if not isinstance(params, Mapping) or first not in params.entries or first == "params":
        return False
    if first not in tree.entries and first not in (known_kinds.keys(kind) or known_kinds.COMMON):
        return True
    value = tree.get(first)
    if isinstance(value, Scalar) and str(value.value).replace(" ", "") == f"${{params.{first}}}":
        return True
    found.add(
        "bad-override",
        f"`{first}` is a key of the recipe and one of its parameters: the key is set",
        override.spans[0],
        hint=f"--set params.{override.text} sets the parameter",
        severity="warning",
    )
    return False


def _check_secrets(recipe: Recipe, values: Mapping, found: Diagnostics) -> None:
    """A secret may stand under `env:` alone; everything else is written to files."""
    nodes = [(path, node) for path, node in walk(recipe.tree) if not _is_environment(path)]
    nodes += [(("params", *path), node) for path, node in walk(values)]
    for _, node in nodes:
        if not isinstance(node, Scalar):
            continue
        for kind, target in tokens.found_in(node.value):
            if kind == "secret":
                found.add(
                    "secret-outside-env",
                    f"the secret {target[0]} may stand only under `env:`",
                    node.span,
                    hint=f"write `env: {{{target[0]}: ${{secret:{target[0]}}}}}`; "
                    "the stage finds it in its environment",
                )


def _is_environment(path: tuple[str | int, ...]) -> bool:
    """True for a place under `env:` of a recipe, of a stage of a pipeline, or of a service."""
    return path[:1] == ("env",) or (len(path) > 3 and path[0] in ("stages", "services") and path[2] == "env")
