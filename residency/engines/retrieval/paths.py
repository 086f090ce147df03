"""What a recipe names, on this disk: paths as they are, sources fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from residency.engines.processors.notes import Notes
from residency.paths import cache_dir, mirror_dir
from residency.sources import fetch
from residency.sources.spec import source


def locate(items: Iterable[Any], base: Path, notes: Notes, what: str) -> tuple[list[Path], list[str]]:
    """The files and folders of some items, and in words where each came from.

    Args:
        items: Paths, and sources as mappings.
        base: Where a source's relative path starts.
        notes: Told of what is fetched.
        what: What they are, for the log: `corpus`.

    Raises:
        ResidencyError: One cannot be fetched.
    """

    def tell(text: str) -> None:
        notes.say(text)
        notes.progress(text, force=True)

    paths: list[Path] = []
    names: list[str] = []
    for item in items:
        if not isinstance(item, Mapping):
            paths.append(Path(item))
            names.append(str(item))
            continue
        given = source(item)
        notes.say(f"{what} {given.shown}; licence: {given.licence or 'not stated'}")
        got = fetch(item, cache=cache_dir(), mirror=mirror_dir(), base=base, report=tell)
        paths += [got.path] if (got.path / "manifest.json").is_file() else got.files
        names.append(f"{given.shown} sha256 {got.sha256}")
    return paths, names
