"""`extends:` and `profiles:`: the files and overlays that make one recipe."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from residency.recipe import plain_llamafactory
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.merge import lay_over, merge_documents
from residency.recipe.nodes import Mapping, Node, Scalar, Sequence, Span, copy
from residency.recipe.suggest import closest, did_you_mean
from residency.recipe.yaml_reader import read

MAX_FILES = 100
SUFFIXES = (".yaml", ".yml")
_NOT_IN_A_PROFILE = ("kind", "extends", "profiles")


@dataclass
class Composer:
    """Reads the files of one recipe."""

    found: Diagnostics
    files: list[Path] = field(default_factory=list)
    """Every file read, in order."""
    plain: bool = False
    """True when the recipe's own file is a plain LLaMA-Factory YAML."""
    _done: dict[Path, Mapping | None] = field(default_factory=dict)

    def compose(self, path: Path, file: str, where: Span | None = None) -> Mapping | None:
        """A recipe's document with what it extends below it.

        Args:
            path: The file.
            file: The file as the user named it.
            where: Where it is named, for the case that it is not there.

        Returns:
            The tree without `extends`, or None when it, or a file it extends, cannot be used.
        """
        return self._compose(path, file, (), where or Span(file, 1, 1, 1, 1))

    def adopt(self, tree: Mapping, path: Path, file: str) -> Mapping | None:
        """A document that stands inside another file, with what it extends below it."""
        return self._extend(tree, path, file, ())

    def read(self, path: Path, file: str, where: Span, *, extended: bool = False) -> Mapping | None:
        """One file's document; a file that cannot be read is reported at `where`."""
        try:
            data = path.read_bytes()
        except OSError as error:
            self._unreadable(path, file, where, error, chain=extended)
            return None
        self.files.append(path)
        return read(data, file, self.found)

    def _compose(
        self, path: Path, file: str, chain: tuple[tuple[Path, str], ...], where: Span
    ) -> Mapping | None:
        real = Path(os.path.realpath(path))
        names = [name for _, name in chain]
        if real in [known for known, _ in chain]:
            self.found.add(
                "circular-extends",
                "`extends` runs in a circle: " + " → ".join([*names, file]),
                where,
                hint="remove one of them",
            )
            return None
        if real in self._done:
            done = self._done[real]
            return None if done is None else _copied(done)
        if len(self.files) >= MAX_FILES:
            self.found.add("circular-extends", f"a recipe may extend at most {MAX_FILES} files", where)
            return None
        tree = self.read(path, file, where, extended=bool(chain))
        if tree is not None and plain_llamafactory.looks_plain(tree):
            self.plain = self.plain or not chain
            tree = plain_llamafactory.wrap(tree, self.found)
        if tree is not None:
            tree = self._extend(tree, path, file, (*chain, (real, file)))
        self._done[real] = tree
        return None if tree is None else _copied(tree)

    def _extend(
        self, tree: Mapping, path: Path, file: str, chain: tuple[tuple[Path, str], ...]
    ) -> Mapping | None:
        """The tree over the files that its `extends` names."""
        entry = tree.entries.get("extends")
        own = Mapping(tree.span, {k: e for k, e in tree.entries.items() if k != "extends"}, tree.via)
        if entry is None:
            return own
        below: Mapping | None = None
        usable = True
        for node in entry.value.items if isinstance(entry.value, Sequence) else [entry.value]:
            name = self._name(node)
            if name is None:
                usable = False
                continue
            shown = os.path.normpath(os.path.join(os.path.dirname(file), name))
            base = self._compose(path.parent / name, shown, chain, node.span)
            if base is None:
                usable = False
                continue
            below = base if below is None else merge_documents(below, base)
        if not usable:
            return None
        return own if below is None else merge_documents(below, own)

    def _name(self, node: Node) -> str | None:
        """The file that an item of `extends` names."""
        if isinstance(node, Scalar) and isinstance(node.value, str) and node.value:
            if "${" not in node.value:
                return node.value
            self.found.add(
                "bad-extends",
                "`extends` takes no interpolation: it is read before anything is resolved",
                node,
            )
            return None
        self.found.add("bad-extends", "`extends` takes a file, or a list of files", node)
        return None

    def _unreadable(self, path: Path, file: str, where: Span, error: OSError, *, chain: bool) -> None:
        """Report a file that is not there or cannot be read."""
        if path.is_dir():
            message, hint = f"`{file}` is a folder, not a recipe", None
            inside = neighbours(path)
            if inside:
                hint = "it holds " + ", ".join(f"`{name}`" for name in inside[:5])
        elif not path.exists():
            message = f"there is no file `{file}`"
            near = closest(path.name, neighbours(path.parent))
            if near:
                hint = f"did you mean `{os.path.join(os.path.dirname(file), near[0])}`?"
            elif path.parent.is_dir():
                hint = None
            else:
                hint = f"there is no folder `{os.path.dirname(file)}` either"
        else:
            message, hint = f"`{file}` cannot be read: {error.strerror or error}", None
        self.found.add("bad-extends" if chain else "missing-file", message, where, hint=hint)


def _copied(tree: Mapping) -> Mapping:
    copied = copy(tree)
    assert isinstance(copied, Mapping)
    return copied


def neighbours(folder: Path) -> list[str]:
    """The names of the YAML files in a folder, in order."""
    try:
        return sorted(entry.name for entry in os.scandir(folder) if entry.name.endswith(SUFFIXES))
    except OSError:
        return []


def shared_names(folder: Path) -> list[str]:
    """The profiles that a folder of shared ones holds."""
    return [name.rsplit(".", 1)[0] for name in neighbours(folder)]


@dataclass
class Profiles:
    """The profiles that one load applies."""

    chosen: tuple[str, ...]
    folder: Path
    """Where the shared ones lie."""
    composer: Composer
    own: dict[str, Mapping] = field(default_factory=dict)
    """Those that the recipe itself declares, by name; known after `apply`."""

    def apply(self, tree: Mapping, keys: Collection[str] | None) -> Mapping:
        """The tree with the chosen profiles over it, without its `profiles`.

        Each profile is applied in turn, the shared one before the recipe's own, so that later
        names win and a recipe's own word wins over what is said for all.

        Args:
            tree: The recipe.
            keys: The top-level keys that the recipe's kind knows. A shared profile speaks for
                every kind, and a recipe takes of it what it knows. None: it takes everything.
        """
        entry = tree.entries.get("profiles")
        tree = Mapping(tree.span, {k: e for k, e in tree.entries.items() if k != "profiles"}, tree.via)
        self.own = own = self._own(entry.value if entry else None)
        for name in self.chosen:
            shared = self._shared(name)
            if shared is not None:
                kept = {
                    k: e for k, e in shared.entries.items() if keys is None or k in keys or k in tree.entries
                }
                tree = lay_over(tree, Mapping(shared.span, kept), self.composer.found, lenient=True)
            if name in own:
                tree = lay_over(tree, own[name], self.composer.found)
        return tree

    def _own(self, node: Node | None) -> dict[str, Mapping]:
        """The recipe's own profiles; what is none is reported."""
        found = self.composer.found
        if node is None or (isinstance(node, Scalar) and node.value is None):
            return {}
        if not isinstance(node, Mapping):
            found.add(
                "bad-profile",
                "`profiles` must be a mapping of names to overlays",
                node,
                hint="write `profiles: {smoke: {resources: {gpus: 0}}}`",
            )
            return {}
        own = {}
        for name, entry in node.entries.items():
            if isinstance(entry.value, Mapping):
                own[name] = self._overlay(entry.value)
            elif isinstance(entry.value, Scalar) and entry.value.value is None:
                own[name] = Mapping(entry.value.span)
            else:
                found.add("bad-profile", f"profile `{name}` must be a mapping of keys", entry.value)
                own[name] = Mapping(entry.value.span)
        return own

    def _shared(self, name: str) -> Mapping | None:
        """The shared profile of that name, or None."""
        for suffix in SUFFIXES:
            path = self.folder / (name + suffix)
            if "/" not in name and path.is_file():
                file = os.path.relpath(path) if _below(path, Path.cwd()) else str(path)
                read = self.composer.read(path, file, Span(file, 1, 1, 1, 1))
                return None if read is None else self._overlay(read)
        return None

    def _overlay(self, tree: Mapping) -> Mapping:
        """An overlay without the keys that no profile may hold."""
        kept = dict(tree.entries)
        for key in _NOT_IN_A_PROFILE:
            entry = kept.pop(key, None)
            if entry is not None:
                self.composer.found.add("bad-profile", f"a profile cannot hold `{key}`", entry.key_span)
        return Mapping(tree.span, kept, tree.via)

    def unknown(self, others: Collection[str] = ()) -> None:
        """Report the chosen profiles that neither the recipe, nor `others`, nor the folder has."""
        shared = shared_names(self.folder)
        known = sorted({*self.own, *others, *shared})
        for name in self.chosen:
            if name not in known:
                report_unknown_profile(name, known, self.composer.found)


def report_unknown_profile(name: str, known: Collection[str], found: Diagnostics) -> None:
    """Report a `--profile` that nothing declares."""
    option = f"--profile {name}"
    found.sources[option] = option
    found.add(
        "unknown-profile",
        f"there is no profile `{name}`",
        Span(option, 1, 11, 1, 11 + len(name)),
        hint=did_you_mean(name, known)
        or (
            "there are " + ", ".join(f"`{n}`" for n in sorted(known))
            if known
            else "the recipe has no profiles"
        ),
    )


def _below(path: Path, folder: Path) -> bool:
    return path.is_absolute() and path.is_relative_to(folder)
