"""BioASQ's exact answers from a model: its answer read, and scored as a submission is.

The answer stands within `<answer>…</answer>`: yes or no; for a factoid at most five names, best first, and
for a list all items, each on a line of its own. Strict: there is exactly one such tag. Lenient: the
last one, be it closed or not; without one the whole answer is read where it is short. Bullets and
numbers before an item are dropped. What cannot be read is an empty answer, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from residency.benchmark import asked
from residency.benchmark.bioasq import exact
from residency.benchmark.bioasq.read import Answers
from residency.benchmark.bioasq.score import macro
from residency.benchmark.figures import Array, ratio
from residency.engines.lm_eval.answers import Mode, extract, within_tag

LABELS = ("yes", "no")
Pair = tuple[str, str | None]

_BULLET = re.compile(r"^\s*(?:[-*•–]\s+|\(?\d{1,3}[.)]\s+)?")
_EDGE = " \t\"'`*_"
_SHORT = 400
"""Characters; a longer answer without a tag is not read."""


def items(text: str, mode: Mode = "strict") -> list[str]:
    """The items of an answer, in order, each once; none when it cannot be read."""
    inside = within_tag(text, mode=mode)
    if inside is None and mode == "lenient" and len(text) <= _SHORT and "<" not in text:
        inside = text
    lines = (inside or "").splitlines()
    found = [_BULLET.sub("", line, count=1).strip(_EDGE) for line in lines]
    if mode == "lenient" and len([one for one in found if one]) == 1:
        found = [part.strip(_EDGE) for one in found for part in re.split(r"[;,]\s", one)]
    return list(dict.fromkeys(one for one in found if one))


def said(text: str, mode: Mode = "strict") -> str | None:
    """yes, no, or None."""
    found = extract(text, LABELS, mode=mode)
    if found is None and mode == "lenient" and "<" not in text:
        found = extract(f"<answer>{text}</answer>", LABELS, mode=mode)
    return found


def yesno(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a yes/no question."""
    return asked.scored(_yesno, doc, results)


def factoid(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a factoid."""
    return asked.scored(_factoid, doc, results)


def listed(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a list question."""
    return asked.scored(_listed, doc, results)


def _yesno(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    right, strict, lenient = asked.gold(doc), said(text), said(text, "lenient")
    return {
        "accuracy": float(strict == right),
        "macro_f1": (right, strict),
        "f1_yes": (right, strict),
        "f1_no": (right, strict),
        "accuracy_lenient": float(lenient == right),
        "unreadable": float(strict is None),
        "unreadable_lenient": float(lenient is None),
        "readings": (strict, lenient),
    }


def _shown(*found: Sequence[str]) -> tuple[str | None, ...]:
    """What was read, on one line each."""
    return tuple("; ".join(one) or None for one in found)


def _answers(found: Sequence[str]) -> Answers:
    return tuple((one,) for one in found)


def _gold(doc: Mapping[str, Any]) -> Answers:
    return tuple(tuple(one) for one in asked.gold(doc))


def _factoid(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    strict, lenient = (items(text, mode)[: exact.FACTOID_ANSWERS] for mode in ("strict", "lenient"))
    found = exact.factoid(_gold(doc), _answers(strict))
    return {
        "strict_accuracy": found.strict,
        "lenient_accuracy": found.lenient,
        "mrr": found.mrr,
        "mrr_lenient_reading": exact.factoid(_gold(doc), _answers(lenient)).mrr,
        "unreadable": float(not strict),
        "unreadable_lenient": float(not lenient),
        "readings": _shown(strict, lenient),
    }


def _listed(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    strict, lenient = (items(text, mode) for mode in ("strict", "lenient"))
    found = exact.items(_gold(doc), _answers(strict))
    return {
        "precision": found.precision,
        "recall": found.recall,
        "f1": found.f1,
        "f1_lenient_reading": exact.items(_gold(doc), _answers(lenient)).f1,
        "unreadable": float(not strict),
        "unreadable_lenient": float(not lenient),
        "readings": _shown(strict, lenient),
    }


def _sums(pairs: Sequence[Pair], label: str) -> Array:
    parts: Array = np.array(exact.f1_parts(pairs, label), dtype=np.float64)
    summed: Array = parts.reshape(-1, 2).sum(axis=0, keepdims=True)
    return summed


def f1_yes(pairs: Sequence[Pair]) -> float:
    """lm-eval's aggregation: the F1 of yes, as the official evaluator's."""
    return float(ratio(_sums(pairs, "yes"), len(pairs))[0])


def f1_no(pairs: Sequence[Pair]) -> float:
    """lm-eval's aggregation: the F1 of no."""
    return float(ratio(_sums(pairs, "no"), len(pairs))[0])


def macro_f1(pairs: Sequence[Pair]) -> float:
    """lm-eval's aggregation: their mean."""
    return float(macro(np.hstack([_sums(pairs, "yes"), _sums(pairs, "no")]), len(pairs))[0])
