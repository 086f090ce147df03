"""What a `data` recipe says, in a form that is easy to work with; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from residency.rows.split import OPTIONS, Split, split_of

DEFAULT_FORMAT = "alpaca"


@dataclass(frozen=True, slots=True)
class Step:
    """One processor with its arguments."""

    function: str
    """A dotted path."""
    args: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Dataset:
    """One entry of `datasets:`."""

    name: str
    sources: tuple[str, ...]
    """The names (or paths) under `from:`."""
    steps: tuple[Step, ...]
    split: Split | None
    format: str

    @property
    def files(self) -> dict[str | None, str]:
        """Part (None without a split) → the output's name, which is its file's without .jsonl."""
        if self.split is None:
            return {None: self.name}
        return {part: f"{self.name}_{part}" for part in self.split.parts}


def datasets(config: Mapping[str, Any]) -> list[Dataset]:
    """The datasets of a recipe, as they are written; entries of a wrong shape are left out."""
    found = config.get("datasets")
    if not isinstance(found, Mapping):
        return []
    return [dataset(str(name), value) for name, value in found.items() if isinstance(value, Mapping)]


def dataset(name: str, value: Mapping[str, Any]) -> Dataset:
    """One entry; what has a wrong shape in it is left out."""
    split = value.get("split")
    parts = isinstance(split, Mapping) and any(key not in OPTIONS for key in split)
    return Dataset(
        name=name,
        sources=tuple(str(item) for item in as_list(value.get("from"))),
        steps=tuple(step for item in as_list(value.get("process")) if (step := _step(item))),
        split=split_of(split) if parts and isinstance(split, Mapping) else None,
        format=str(value.get("format") or DEFAULT_FORMAT),
    )


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as a list of one, nothing as an empty one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _step(item: Any) -> Step | None:
    if isinstance(item, str):
        return Step(item, {})
    if isinstance(item, Mapping) and isinstance(item.get("fn"), str):
        args = item.get("args")
        return Step(item["fn"], dict(args) if isinstance(args, Mapping) else {})
    return None


def in_order(found: list[Dataset], sources: Collection[str] = ()) -> tuple[list[Dataset], list[str]]:
    """(the datasets so that each comes after those it is made from, the names in a circle).

    A dataset that is made from one in a circle is not itself named. A name in `sources` means
    the source, though a dataset has it too.
    """
    files = {file: d.name for d in found for file in (*d.files.values(), d.name) if file not in sources}
    by_name = {d.name: d for d in found}
    needs = {d.name: {files[s] for s in d.sources if s in files} for d in found}
    done: list[str] = []
    while ready := [n for n in needs if n not in done and needs[n] <= set(done)]:
        done += ready
    left = [name for name in needs if name not in done]
    circle = [name for name in left if _reaches(name, name, needs)]
    return [by_name[name] for name in done], circle


def _reaches(start: str, goal: str, needs: Mapping[str, set[str]]) -> bool:
    """True when `goal` is needed, directly or not, to make `start`."""
    seen: set[str] = set()
    pending = list(needs[start])
    while pending:
        name = pending.pop()
        if name == goal:
            return True
        if name not in seen:
            seen.add(name)
            pending += needs[name]
    return False
