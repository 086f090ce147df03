"""Recipes that another recipe holds: entries of `stages:` and `services:`, with what is laid over them."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from residency.recipe import tokens
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.load import load
from residency.recipe.model import Recipe
from residency.recipe.nodes import Entry, Mapping, Node, Scalar
from residency.recipe.suggest import did_you_mean

_OF_THE_HOLDER = frozenset({"recipe", "with", "needs"})
"""Keys of an entry that are its holder's; all others are laid over the recipe."""


@dataclass
class Children:
    """Loads entries; takes what is wrong with them."""

    profiles: tuple[str, ...]
    shared: Path
    """The folder of profiles shared by all."""
    cwd: Path | None
    kinds: Collection[str] | None
    found: Diagnostics
    known_profiles: set[str] = field(default_factory=set)
    """What the loaded recipes declare."""

    def load(
        self, holder: Recipe, entry: Entry, siblings: Mapping, full: str, what: str = "stage"
    ) -> Recipe | None:
        """The recipe of one entry; None, with the reason reported, when it cannot be used.

        Args:
            holder: The recipe that holds the entry.
            entry: The entry, whose value is a mapping.
            siblings: The entries beside it.
            full: Its name, with the names of the pipelines that hold it: `outer/inner`.
            what: `stage` or `service`.
        """
        node, name = entry.value, str(entry.key)
        assert isinstance(node, Mapping)
        overlay = Mapping(
            node.span, {k: e for k, e in node.entries.items() if k not in _OF_THE_HOLDER}, node.via
        )
        file = node.get("recipe")
        inline = file is None
        if inline and not {"kind", "extends"} & set(overlay.entries):
            self._names_nothing(entry, siblings, name, what)
            return None
        shown = self._shown(holder)
        if file is not None:
            given = file.value if isinstance(file, Scalar) else None
            if not isinstance(given, str) or not given:
                self.found.add("wrong-type", "`recipe` must be the name of a file", file)
                return None
            if not tokens.is_known(file):
                return None
            shown = os.path.normpath(os.path.join(os.path.dirname(shown), given))
        child, said = load(
            Path(shown),
            profiles=self.profiles,
            arguments=self._passed(node.get("with")),
            overlay=None if inline else overlay,
            shared_profiles=self.shared,
            cwd=self.cwd,
            kinds=self.kinds,
            inline=overlay if inline else None,
            scope=full + "/",
            strict_profiles=False,
            asked_at=None if file is None else file.span,
        )
        self.found.extend(said)
        if child is None:
            return None
        self.known_profiles.update(child.profiles)
        if inline:
            child.stage = (f"{what}s.{name}", entry.key_span)
            if "name" not in overlay.entries:
                child.name = name
        return child

    def _names_nothing(self, entry: Entry, siblings: Mapping, name: str, what: str) -> None:
        """Report an entry with neither `recipe` nor `kind`."""
        meant = did_you_mean(name, siblings.entries)
        place, around = entry.key_span, siblings.span
        inside = place.file == around.file and around.line <= place.line <= around.end_line
        if meant and not inside:
            # Laid over by a profile or by --set, where its name is misspelt.
            self.found.add(f"unknown-{what}", f"there is no {what} `{name}`", place, hint=meant)
            return
        self.found.add(
            "missing-key",
            f"{what} `{name}` names no `recipe`",
            place,
            hint=meant or "write `recipe: FILE`, or the recipe itself with its `kind`",
        )

    def _shown(self, holder: Recipe) -> str:
        """The holder's file as the user named it."""
        shown = holder.tree.span.file
        is_its = Path(os.path.abspath((self.cwd or Path.cwd()) / shown)) == holder.path
        return shown if is_its else str(holder.path)

    def _passed(self, node: Node | None) -> Mapping | None:
        """The values that `with:` passes."""
        if node is None or isinstance(node, Mapping):
            return node
        if not (isinstance(node, Scalar) and node.value is None):
            self.found.add(
                "wrong-type",
                "`with` must be a mapping of parameters to values",
                node,
                hint="write `with: {model: …}`",
            )
        return None
