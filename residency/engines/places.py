"""Where the paths in a recipe lead: where they start, and what was meant by one that leads nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from residency.recipe.suggest import closest


def roots(recipe_folder: Path, project: Path) -> tuple[Path, ...]:
    """The folders at which a relative path may start, first come first served."""
    return (recipe_folder, project, Path.cwd())


def find(value: str, starts: Iterable[Path]) -> Path | None:
    """The absolute path of an existing file or folder, or None."""
    given = Path(value).expanduser()
    return next(((start / given).absolute() for start in starts if (start / given).exists()), None)


def absolute(value: str, starts: tuple[Path, ...]) -> str:
    """`value` with an existing, or unmistakable, path made absolute; a hub name as it is."""
    found = find(value, starts)
    if found is not None:
        return str(found)
    if value.startswith(("./", "../", "~")):
        return str((starts[0] / Path(value).expanduser()).absolute())
    return value


def beside(value: str, starts: Iterable[Path]) -> str | None:
    """A hint: what lies beside a path that is not there, spelt nearly so."""
    for start in starts:
        path = start / Path(value).expanduser()
        if path.parent.is_dir():
            near = closest(path.name, [p.name for p in path.parent.iterdir()])
            if near:
                return f"did you mean `{Path(value).parent / near[0]}`?"
    return None
