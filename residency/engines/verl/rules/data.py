"""Rules of data: the datasets are there, and their rows have the columns that `rows:` names."""

from __future__ import annotations

from pathlib import Path

from residency.engines.verl.rules.view import View
from residency.recipe import dataset_info
from residency.recipe.data_rows import BadRow, first_rows
from residency.recipe.dataset_info import FILE
from residency.recipe.json_reader import shown
from residency.recipe.nodes import Mapping, Node, Scalar, Sequence
from residency.recipe.suggest import closest
from residency.recipe.values import later
from residency.rewards.rows import fields
from residency.rows.read import format_of

PATHS = {"dataset": "data.train_files", "eval_dataset": "data.val_files"}


def datasets(view: View) -> None:
    """Each dataset is in the registry or a file on this disk; an earlier stage's is not here yet."""
    files: list[Path] = []
    for key, own in PATHS.items():
        node = view.recipe.tree.get(key)
        asked = _names(node)
        if node is None and own in view:
            asked = _names(view.keys[own].node)
        files += [path for name in asked if (path := _file(view, *name))]
    for path in files:
        _columns(view, path)


def _names(node: Node | None) -> list[tuple[str, Node]]:
    """The names under a key, each with its place; what an earlier stage makes is left out."""
    items = list(node.items) if isinstance(node, Sequence) else [node] if node is not None else []
    found: list[tuple[str, Node]] = []
    for item in items:
        if isinstance(item, Scalar) and isinstance(item.value, str) and not later(item):
            found += [(part.strip(), item) for part in item.value.split(",") if part.strip()]
    return found


def _file(view: View, name: str, where: Node) -> Path | None:
    """The data file of a name, or None when it was not found, which is said, or is no file here."""
    folders = (view.recipe.folder.absolute(), view.context.project)
    registry = view.context.project / FILE
    read = dataset_info.read(registry, view.found, cwd=view.context.cwd) if registry.is_file() else None
    if read is None or name not in read.tree.entries:
        for folder in folders:
            if (path := folder / Path(name).expanduser()).exists():
                return path if path.is_file() else None
        if "/" in name or format_of(Path(name)):
            starts = " or ".join(shown(folder, view.context.cwd) for folder in dict.fromkeys(folders))
            view.error(
                "missing-file",
                f"the data file {name} is not there",
                where,
                f"a relative path starts at {starts}",
            )
            return None
        if read is None:
            view.error("missing-file", f"there is no {FILE} to look `{name}` up in", where, "name a file")
            return None
    found = dataset_info.find(name, [read], where, view.found)
    if found is None:
        return None
    dataset_info.check_entry(read, name, view.found, cwd=view.context.cwd)
    file = found[1].get("file_name")
    path = registry.parent / str(file.value) if isinstance(file, Scalar) else None
    return path if path is not None and path.is_file() else None


def _columns(view: View, path: Path) -> None:
    """The columns that `rows:` names are in the file."""
    wanted = view.recipe.tree.get("rows")
    if not isinstance(wanted, Mapping) or path.suffix == ".parquet":  # reading parquet takes too long here
        return
    try:
        rows = first_rows(path)
    except (BadRow, OSError):
        return  # said where the entry is checked, or when the rows are read
    if rows is None or not rows.columns:
        return
    extra = {
        name for row in rows.rows if isinstance(row.get("extra_info"), dict) for name in row["extra_info"]
    }
    known = {*rows.columns, *extra}
    for key in ("prompt", "gold", "ground_truth", "group"):
        node = wanted.get(key)
        if not isinstance(node, Scalar) or not isinstance(node.value, str) or later(node):
            continue
        for column in fields(node.value) if key in ("prompt", "gold") else [node.value]:
            if column not in known:
                near = closest(column, known)
                has = ", ".join(sorted(known)[:12])
                view.error(
                    "column-missing",
                    f"the rows of {shown(path, view.context.cwd)} have no column `{column}`",
                    node,
                    (f"did you mean `{near[0]}`? " if near else "") + f"they have {has}",
                )


RULES = (datasets,)
