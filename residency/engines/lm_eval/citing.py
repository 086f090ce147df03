"""The PMIDs in a task's answers, scored beside its own metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from residency import functions
from residency.engines.lm_eval.results import note


class Cited(NamedTuple):
    """What `results.json` says of a task's citations."""

    figures: list[dict[str, Any]]
    problems: list[dict[str, Any]]
    """PMIDs that do not exist or could not be looked up: how many, and the first few."""


def scores(
    settings: Mapping[str, Any], task: str, samples: Sequence[Mapping[str, Any]], *, limited: bool
) -> Cited:
    """The figures of a task.

    An answer's evidence is what its own question names: examples before it are none. Reasoning that came
    before the answer counts as part of it. Of several answers to a question the first counts.

    Args:
        settings: `fn`, the dotted path of the function that scores, and its `args`.
        task: The task's name.
        samples: lm-eval's, of one way of reading each.
        limited: Whether a limit cut the set.
    """
    first = samples[0]["filter"] if samples else None
    rows = [_row(one) for one in samples if one["filter"] == first and _generated(one)]
    found = functions.load(str(settings["fn"]))(rows, **settings.get("args", {}))
    figures = [
        {
            "task": task,
            **one.to_json(),
            "unreadable": None,
            "limited": limited,
            "note": note(one.n, limited) if one.n else one.note,
        }
        for one in found.figures
        if one.n
    ]
    return Cited(figures, found.problems.to_json())


def _generated(sample: Mapping[str, Any]) -> bool:
    """Whether a text was answered, not a choice weighed."""
    return isinstance(sample["resps"][0][0], str)


def _row(sample: Mapping[str, Any]) -> dict[str, Any]:
    doc, answer = sample["doc"], sample["resps"][0][0]
    messages = doc.get("messages")
    return {
        "id": doc.get("id") or sample["doc_id"],
        "prompt": messages[-1]["content"] if messages else str(sample["arguments"][0][0]),
        "output": "\n".join(filter(None, (getattr(answer, "first", ""), str(answer)))),
    }
