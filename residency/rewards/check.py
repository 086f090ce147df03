"""The rules of `rewards:` that the schema cannot say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Node, Scalar, Sequence
from residency.recipe.suggest import closest
from residency.recipe.tokens import is_known
from residency.rewards.spec import default_name

RESERVED = ("total", "unavailable", "zero_variance_groups")
"""What stands beside the components in a step's metrics."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One entry of `rewards:`; a value that is missing, or not known yet, is None."""

    tree: Tree
    name: str | None
    named: Node
    """Where its name is written, or the function that it is named after."""
    fn: Scalar | None
    when: Scalar | None
    weight: float | None
    clip: tuple[float, float] | None
    maximum: float | None


def check(recipe: Recipe, found: Diagnostics) -> None:
    """Names, gates, bounds and weights."""
    before: dict[str, _Entry] = {}
    entries = list(_entries(recipe))
    if entries and all(entry.weight == 0 for entry in entries):
        hint = "a reward of weight 0 is only logged; give one of them a weight"
        found.add("trains-nothing", "every reward has the weight 0", entries[0].named, hint=hint)
    names = [entry.name for entry in entries if entry.name is not None]
    for entry in entries:
        _check_gate(entry, before, names, found)
        _check_numbers(entry, found)
        if entry.name is None:
            continue
        if entry.name in RESERVED or "/" in entry.name or entry.name != entry.name.strip():
            message = f"a reward cannot be named `{entry.name}`"
            hint = f"{', '.join(RESERVED)} stand beside it in the metrics, and `/` parts their names"
            found.add("reserved-key", message, entry.named, hint=hint)
        elif entry.name in before:
            first = before[entry.name].named
            found.add(
                "duplicate-reward",
                f"two rewards are named `{entry.name}`",
                entry.named,
                hint="give one of them a `name:` of its own",
                notes=[("the first one", first.span)],
            )
        before.setdefault(entry.name, entry)


def check_functions(recipe: Recipe, answers: Mapping[str, Mapping[str, Any]], found: Diagnostics) -> None:
    """What shows once the functions were looked at: whether it is known what a right answer scores.

    Args:
        recipe: The recipe.
        answers: Dotted path → what `residency.recipe.dotted_probe.probe` knows of it.
        found: Takes the diagnostics.
    """
    checked = recipe.tree.get("gold_check")
    gold = not (isinstance(checked, Scalar) and checked.value is False)
    by_name: dict[str, _Entry] = {}
    for entry in _entries(recipe):
        answer = answers.get(entry.fn.value) if entry.fn is not None else None
        if entry.name is not None:
            by_name.setdefault(entry.name, entry)
        if answer is None or "error" in answer or entry.fn is None:
            continue
        stated = answer.get("scores")
        _check_maximum(entry, stated, found)
        waits = entry.when is not None and by_name.get(str(entry.when.value))
        if waits and waits is not entry and not _has_maximum(waits, answers):
            assert entry.when is not None
            message = f"`{waits.name}` opens this at its maximum, which is not known"
            found.add("unknown-maximum", message, entry.when, hint=_add_max(waits))
        elif (
            gold
            and entry.weight != 0
            and stated is None
            and (entry.maximum is None or (entry.weight or 0) < 0)
        ):
            message = f"what a right answer scores is not known of `{entry.fn.value}`"
            hint = f"{_add_max(entry)}; without it the gold check cannot be made (`gold_check: false`)"
            found.add("unknown-maximum", message, entry.fn, hint=hint)


def _add_max(entry: _Entry) -> str:
    scores = "put `@scores(low, high)` above the function"
    if (entry.weight or 0) < 0:
        return f"{scores}: of a penalty the lowest score counts"
    return f"add `max:` to it, or {scores}"


def _has_maximum(entry: _Entry, answers: Mapping[str, Mapping[str, Any]]) -> bool:
    answer = answers.get(entry.fn.value) if entry.fn is not None else None
    unknown = answer is None or "error" in answer  # said elsewhere
    return unknown or entry.maximum is not None or (answer or {}).get("scores") is not None


def _check_maximum(entry: _Entry, stated: list[float | None] | None, found: Diagnostics) -> None:
    """`max` is a score that the function can give."""
    if stated is None or entry.maximum is None or entry.fn is None:
        return
    low, high = stated
    if (low is not None and entry.maximum < low) or (high is not None and entry.maximum > high):
        bounds = f"from {'…' if low is None else f'{low:g}'} to {'…' if high is None else f'{high:g}'}"
        message = f"`{entry.fn.value}` scores {bounds}, so that {entry.maximum:g} is no maximum of it"
        found.add("out-of-range", message, entry.tree.entries["max"].value, hint="leave `max` out")


def _check_gate(entry: _Entry, before: Mapping[str, _Entry], names: list[str], found: Diagnostics) -> None:
    """`when` names an earlier reward."""
    if entry.when is None or entry.when.value in before:
        return
    asked = str(entry.when.value)
    if asked == entry.name:
        hint = "it names the reward whose maximum it waits for"
        found.add("unknown-reward", "a reward cannot wait for itself", entry.when, hint=hint)
        return
    if asked in names:
        message = f"`{asked}` comes after this reward"
        found.add("unknown-reward", message, entry.when, hint="put it before")
        return
    short = {name.rpartition(".")[2]: name for name in before} | {
        name.partition(".")[0]: name for name in before
    }
    near = short.get(asked) or next(iter(closest(asked, before)), None)
    hint = f"did you mean `{near}`?" if near else f"earlier ones are: {', '.join(before) or 'none'}"
    found.add("unknown-reward", f"no earlier reward is named `{asked}`", entry.when, hint=hint)


def _check_numbers(entry: _Entry, found: Diagnostics) -> None:
    """`clip` in order, `max` within it."""
    if entry.clip is None:
        return
    low, high = entry.clip
    place = entry.tree.entries["clip"].value
    if low > high:
        hint = f"write it low first: `clip: [{high:g}, {low:g}]`"
        found.add("out-of-range", f"`clip` goes from {low:g} to {high:g}", place, hint=hint)
    elif low == high:
        message = f"`clip` makes every score {low:g}"
        found.add("out-of-range", message, place, hint="give two bounds: `clip: [0, 1]`")
    elif entry.maximum is not None and not low <= entry.maximum <= high:
        message = f"`max: {entry.maximum:g}` lies outside `clip`"
        hint = f"no score is left outside {low:g} to {high:g}"
        found.add("out-of-range", message, entry.tree.entries["max"].value, hint=hint)


def _entries(recipe: Recipe) -> Iterator[_Entry]:
    """What can be read of `rewards:`; what is of a wrong type, the schema has said."""
    rewards = recipe.tree.get("rewards")
    for tree in rewards.items if isinstance(rewards, Sequence) else []:
        if not isinstance(tree, Tree):
            continue
        fn, name = _text(tree, "fn"), _text(tree, "name")
        written = "name" in tree.entries
        named = name.value if name else default_name(fn.value) if fn and not written else None
        clip = tree.get("clip")
        bounds = [_number(item) for item in clip.items] if isinstance(clip, Sequence) else []
        low, high = bounds if len(bounds) == 2 else (None, None)
        yield _Entry(
            tree=tree,
            name=named,
            named=name or fn or tree,
            fn=fn,
            when=_text(tree, "when"),
            weight=1.0 if "weight" not in tree.entries else _number(tree.get("weight")),
            clip=None if low is None or high is None else (low, high),
            maximum=_number(tree.get("max")),
        )


def _text(tree: Tree, key: str) -> Scalar | None:
    node = tree.get(key)
    return node if isinstance(node, Scalar) and isinstance(node.value, str) and is_known(node) else None


def _number(node: Node | None) -> float | None:
    value = node.value if isinstance(node, Scalar) else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
