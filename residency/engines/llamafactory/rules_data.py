"""Rules of data: datasets are registered, their files fit, and they are what the stage needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from residency.engines.llamafactory.view import View, known, names
from residency.recipe import dataset_info
from residency.recipe.dataset_info import FILE, Registry
from residency.recipe.json_reader import shown
from residency.recipe.nodes import Mapping, Node, Scalar, Span, plain
from residency.recipe.suggest import closest

PAIRS = ("rm", "dpo")
"""The stages that train on pairs of answers."""


def one_place(view: View) -> None:
    """Datasets stand at the recipe's top or in the block, not in both; there is one to train on."""
    for key in ("dataset", "eval_dataset"):
        if key in view.recipe.tree.entries and key in view.block.entries:
            message = f"`{key}` stands both at the top of the recipe and under `llamafactory:`"
            where = view.recipe.tree.entries[key].key_span
            view.error("conflicting-keys", message, where, "keep one of them", (key,))
    given = _given(view, "dataset")
    trains = "do_train" not in view or view.on("do_train")
    if given is None and trains and "tokenized_path" not in view:
        view.error(
            "missing-key", "there is no `dataset` to train on", view.key("dataset"), "add `dataset: …`"
        )


def registered(view: View) -> None:
    """Each dataset has an entry whose file is there, has its columns, and suits the stage."""
    asked = [
        (key, name, where) for key in ("dataset", "eval_dataset") for name, where in names(_given(view, key))
    ]
    asked = [(key, name, where) for key, name, where in asked if known(name)]
    if not asked:
        return
    registries = _registries(view, asked[0][2])
    if registries is None:
        return
    checked: set[tuple[str, str]] = set()
    for _, name, where in asked:
        found = dataset_info.find(name, registries, where, view.found)
        if found is None:
            continue
        registry, entry = found
        if (registry.shown, name) not in checked:
            checked.add((registry.shown, name))
            dataset_info.check_entry(registry, name, view.found, cwd=view.context.cwd)
        _suits(view, name, plain(entry), where)


def _given(view: View, key: str) -> Node | None:
    node = view.recipe.tree.get(key)
    return node if node is not None else view.block.get(key)


def _registries(view: View, where: Node | Span) -> list[Registry] | None:
    """The registries in which names are looked up; None when the names are not looked up here."""
    node = view.block.get("dataset_dir")
    given: Any = None if node is None else plain(node)
    if isinstance(node, Mapping):
        return [Registry(view.roots[0] / FILE, "dataset_dir", node)]
    if isinstance(given, str) and (given == "ONLINE" or given.startswith("REMOTE:") or not known(given)):
        return None
    folders: list[Path] = []
    if isinstance(node, Scalar) and isinstance(given, str):
        folder = view.find(given)
        if folder is None or not (folder / FILE).is_file():
            _no_registry(view, given, folder, node)
            return None
        folders.append(folder)
    elif view.recipe.plain_llamafactory:  # LLaMA-Factory's default
        folders += [view.context.cwd / "data", view.recipe.folder.absolute() / "data"]
    folders.append(view.context.project)
    found: list[Registry] = []
    there = False
    for folder in dict.fromkeys(folders):
        path = folder / FILE
        if path.is_file():
            there = True
            registry = dataset_info.read(path, view.found, cwd=view.context.cwd)
            if registry is None:
                return None  # said so; names cannot be looked up without it
            found.append(registry)
    if not there:
        looked = " or ".join(shown(folder / FILE, view.context.cwd) for folder in dict.fromkeys(folders))
        view.error("missing-file", f"there is no {looked}", where, "name its folder under `dataset_dir`")
    return found or None


def _no_registry(view: View, given: str, folder: Path | None, node: Scalar) -> None:
    hint: str | None = f"put a {FILE} there, or leave `dataset_dir` out for the project's own"
    if folder is None:
        parent = (view.roots[0] / given).parent
        beside = [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []
        near = closest(Path(given).name, beside)
        hint = f"did you mean `{Path(given).with_name(near[0])}`?" if near else hint
    what = f"the folder {given}" if folder is None else f"{Path(given) / FILE}"
    view.error("missing-file", f"{what} is not there", node, hint)


def _suits(view: View, name: str, entry: dict[str, Any], where: Node | Span) -> None:
    """Pairs for reward models and DPO, tagged answers for KTO, neither for the others."""
    stage = view.stage
    ranking = entry.get("ranking") is True
    columns = entry.get("columns") or {}
    if stage in PAIRS and not ranking:
        message = f"`stage: {stage}` trains on pairs of answers, and `{name}` holds none"
        hint = 'its entry needs `"ranking": true` and the columns `chosen` and `rejected`'
        view.error("wrong-dataset", message, where, hint, ("stage",))
    elif stage in ("sft", "pt", "kto") and ranking:
        message = f"`{name}` holds pairs of answers, which `stage: {stage}` cannot use"
        view.error("wrong-dataset", message, where, "use `stage: dpo` or `stage: rm`", ("stage",))
    elif stage == "kto" and not (isinstance(columns, dict) and columns.get("kto_tag")):
        message = f"`stage: kto` needs to know which answers are good, and `{name}` does not say"
        view.error("wrong-dataset", message, where, 'its entry needs the column `"kto_tag": "…"`', ("stage",))


def template(view: View) -> None:
    """Without a template the tokenizer's own is guessed at, and a base model gets none."""
    if "template" not in view and "template" not in view.block.entries and view.stage != "pt":
        message = "no `template` is given: the tokenizer's own is used if it has one, else none at all"
        view.warn("no-template", message, view.key("template"), "add `template: …` to be sure")


RULES: tuple[Callable[[View], None], ...] = (one_place, registered, template)
