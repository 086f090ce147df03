"""From what lm-eval returns to `results.json` and `samples.jsonl`: every figure with n and interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from residency import stats

LEVEL = 0.95

RIGHT = ("accuracy", "acc", "exact_match", "em", "pass@1")
"""Metrics that say of one sample whether it was right, the first that a task has."""

SLOW = {"bleu", "chrf", "ter"}
"""Metrics of a whole corpus that take seconds each: resampled 100 times, as lm-eval does."""

NO_FIGURES = {"unreadable", "unreadable_lenient", "readings"}
"""What a sample says beside its metrics: whether it could be read, and what was read."""

UNREADABLE = "[invalid]"
"""What lm-eval's own filters give where they find no answer."""


def samples(
    task: str, found: Sequence[Mapping[str, Any]], shown: Callable[[str], str] = str
) -> list[dict[str, Any]]:
    """The rows of samples.jsonl for one task, in the order of its data.

    Where a task reads each answer in several ways (filters), the first way is shown. `shown` makes
    a prompt readable.
    """
    first = found[0]["filter"] if found else None
    rows = []
    for sample in sorted((s for s in found if s["filter"] == first), key=lambda s: s["doc_id"]):
        output, extracted = _answer(sample)
        right = next((sample[m] for m in RIGHT if isinstance(sample.get(m), int | float)), None)
        unreadable = bool(sample["unreadable"]) if "unreadable" in sample else extracted == UNREADABLE
        rows.append(
            {
                "task": task,
                "id": str(sample["doc"].get("id") or sample["doc_id"]),
                "prompt": shown(str(sample["arguments"][0][0])),
                "target": _target(sample),
                "output": output,
                "extracted": None if unreadable else extracted,
                "correct": None if right is None else bool(right),
                "unreadable": unreadable,
                **_more(sample),
            }
        )
    return rows


def _more(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What a row says besides: the lenient reading, the reasoning before, all of several answers."""
    found: dict[str, Any] = {}
    given = sample["resps"][0]
    if "accuracy_lenient" in sample:
        found["extracted_lenient"] = sample["readings"][0][1]
        found["correct_lenient"] = bool(sample["accuracy_lenient"] == 1.0)
    if first := getattr(given[0], "first", None):
        found["reasoning"], found["then"] = first, sample["doc"]["then"]
    if "readings" in sample and len(sample["readings"]) > 1:
        found["share"] = float(sample["accuracy"])
        found["outputs"] = [str(one) for one in given]
        found["all_extracted"] = [one[0] for one in sample["readings"]]
        found["all_extracted_lenient"] = [one[1] for one in sample["readings"]]
    return found


def _answer(sample: Mapping[str, Any]) -> tuple[str, Any]:
    """What the model gave, and what was read in it."""
    given = sample["resps"]
    if len(given) > 1 or isinstance(given[0][0], tuple | list):  # likelihoods, one a choice
        likelihoods = [float(resp[0][0]) for resp in given]
        best = likelihoods.index(max(likelihoods))
        choice = str(sample["arguments"][best][1])
        pair = sample.get("macro_f1")
        return choice, pair[1] if isinstance(pair, tuple) else choice.strip()
    pair = sample.get("macro_f1")
    if isinstance(pair, tuple):
        return str(given[0][0]), pair[1]
    if "readings" in sample:
        return str(given[0][0]), sample["readings"][0][0]
    read = sample["filtered_resps"][0]
    return str(given[0][0]), read[0] if isinstance(read, list) and read else read


def _target(sample: Mapping[str, Any]) -> Any:
    target = sample["target"]
    if isinstance(target, int) and len(sample["arguments"]) > target:
        return str(sample["arguments"][target][1]).strip()
    return target


def score(
    task: str,
    metric: str,
    values: Sequence[Any],
    aggregate: Callable[[list[Any]], float],
    *,
    limited: bool = False,
    unreadable: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """One figure of results.json: the aggregate of `values` with its 95 % interval.

    A share of samples gets a Wilson interval, anything else a percentile bootstrap.
    """
    value = float(aggregate(list(values)))
    n = len(values)
    numbers = [float(v) for v in values if isinstance(v, int | float)]
    is_mean = len(numbers) == n and math.isclose(value, stats.mean(numbers), abs_tol=1e-12)
    low: float | None
    high: float | None
    if is_mean and all(v in (0.0, 1.0) for v in numbers):
        (low, high), method = stats.wilson(round(sum(numbers)), n, LEVEL), "wilson"
    else:
        resamples = 100 if metric.partition(",")[0] in SLOW else 10_000 if n <= 1000 else 1_000
        method = "bootstrap"
        try:
            low, high = stats.bootstrap(
                values,
                stats.mean if is_mean else lambda drawn: float(aggregate(drawn)),
                resamples=resamples,
                seed=seed,
                level=LEVEL,
            )
        except ValueError:
            low = high = None
    return {
        "task": task,
        "metric": metric,
        "value": value,
        "n": n,
        "low": low,
        "high": high,
        "level": LEVEL,
        "method": method,
        "unreadable": unreadable,
        "limited": limited,
        "note": note(n, limited),
    }


def note(n: int, limited: bool) -> str | None:
    """What a reader must know of a figure from `n` samples."""
    if limited:
        return f"n={n}: a smoke figure, the set was cut by a limit"
    if n < stats.SMALL_SAMPLE:
        return f"n={n}: a small sample"
    return None


def scores(
    task: str,
    found: Sequence[Mapping[str, Any]],
    aggregation: Mapping[str, Callable[[list[Any]], float]],
    *,
    limited: bool,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Every figure of one task, in the order in which its metrics stand in the task file."""
    rows = []
    for name in dict.fromkeys(s["filter"] for s in found):
        mine = sorted((s for s in found if s["filter"] == name), key=lambda s: s["doc_id"])
        metrics = dict.fromkeys(m for s in mine for m in s["metrics"])
        for metric in metrics:
            if metric in NO_FIGURES:
                continue
            values = [s[metric] for s in mine if metric in s]
            rows.append(
                score(
                    task,
                    metric if name == "none" else f"{metric},{name}",
                    values,
                    aggregation.get(metric, stats.mean),
                    limited=limited,
                    unreadable=_unreadable(mine, lenient=metric.endswith("_lenient")),
                    seed=seed,
                )
            )
        rows += several(task, mine, limited=limited, seed=seed)
    return rows


def several(
    task: str, found: Sequence[Mapping[str, Any]], *, limited: bool, seed: int = 0
) -> list[dict[str, Any]]:
    """pass@k and the majority's accuracy, where each question was answered more than once.

    For each reading of the answers. k is 1, 2, 4 … and all; accuracy is pass@1. Questions are
    resampled, each with all its answers.
    """
    n = min((len(s.get("readings") or ()) for s in found), default=0)
    if n < 2:
        return []
    ks = sorted({2**power for power in range(n.bit_length()) if 2**power <= n} | {n})
    golds = [str(s["doc"].get("label", s["doc"].get("answer", ""))) for s in found]
    rows = []
    for place, name in enumerate(("", "_lenient")):
        if any(f"accuracy{name}" not in s for s in found):
            continue
        right = [round(s[f"accuracy{name}"] * len(s["readings"])) for s in found]
        figures = {
            f"pass@{k}": [
                stats.pass_at_k(len(s["readings"]), c, k) for s, c in zip(found, right, strict=True)
            ]
            for k in ks
        }
        if all(golds):
            votes = [stats.majority([one[place] for one in s["readings"]]) for s in found]
            figures[f"maj@{n}"] = [float(vote == gold) for vote, gold in zip(votes, golds, strict=True)]
        unread = _unreadable(found, lenient=bool(name))
        rows += [
            score(task, f"{key}{name}", values, stats.mean, limited=limited, unreadable=unread, seed=seed)
            for key, values in figures.items()
        ]
    return rows


def _unreadable(found: Iterable[Mapping[str, Any]], *, lenient: bool = False) -> int | None:
    """How many answers could not be read; None for a task that does not say."""
    key = "unreadable_lenient" if lenient else "unreadable"
    counts = []
    for sample in found:
        if key in sample:  # a share of the answers to the question
            counts.append(round(sample[key] * len(sample.get("readings") or [0])))
        elif not isinstance(sample["resps"][0][0], tuple | list) and sample["filter"] != "none":
            counts.append(int(sample["filtered_resps"][0] == UNREADABLE))
    return sum(counts) if counts else None


def group_scores(
    groups: Mapping[str, Mapping[str, Any]],
    members: Mapping[str, Sequence[str]],
    found: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    limited: bool,
) -> list[dict[str, Any]]:
    """The figures of lm-eval's groups, such as mmlu.

    A group that weighs its tasks by size is a share of all their samples and gets a Wilson
    interval over them; for another weighting no interval is given.
    """

    def leaves(name: str) -> list[str]:
        return [name] if name in found else [x for child in members.get(name, ()) for x in leaves(child)]

    rows = []
    for group, figures in groups.items():
        for key, value in figures.items():
            metric, comma, way = key.partition(",")
            if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            values = [
                s[metric] for t in leaves(group) for s in found[t] if s["filter"] == way and metric in s
            ]
            name = metric if way == "none" else key
            shares = bool(values) and all(isinstance(v, int | float) and v in (0, 1) for v in values)
            if shares and math.isclose(stats.mean(values), value, abs_tol=1e-9):
                rows.append(score(group, name, values, stats.mean, limited=limited))
            else:
                rows.append(
                    {
                        **{"task": group, "metric": name, "value": float(value), "n": len(values)},
                        **{"low": None, "high": None, "level": LEVEL, "method": "none"},
                        **{"unreadable": None, "limited": limited, "note": note(len(values), limited)},
                    }
                )
    return rows


def details(
    found: Sequence[Mapping[str, Any]], counts: Mapping[str, int], *, limited: bool = False
) -> dict[str, Any]:
    """What results.json says of a task beside its figures: counts per class, prompts cut.

    Args:
        found: The task's samples.
        counts: `too_long`, and over an endpoint `refused` and `empty`.
        limited: Whether a limit cut the set.
    """
    pairs = [s["macro_f1"] for s in found if isinstance(s.get("macro_f1"), tuple)]
    return {
        "n": len({s["doc_id"] for s in found}),
        **counts,
        "answers": stats.confusion(pairs) if pairs else None,
        **({"by": by} if (by := _by(found, limited)) else {}),
    }


def _by(found: Sequence[Mapping[str, Any]], limited: bool) -> dict[str, Any]:
    """Accuracy for each value of the field that the task parts its questions by: n, value, interval."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for sample in found:
        if sample["doc"].get("by"):
            groups.setdefault(sample["doc"]["by"], []).append(sample)
    return {
        value: {
            metric: {key: row[key] for key in ("value", "n", "low", "high", "method", "unreadable", "note")}
            for row in scores("", mine, {}, limited=limited)
            if (metric := row["metric"]) in ("accuracy", "accuracy_lenient")
        }
        for value, mine in sorted(groups.items())
    }


def warnings(task: str, about: Mapping[str, Any]) -> list[str]:
    """What a reader must know of prompts that did not fit and of answers without text."""
    n, refused = about["n"], about.get("refused") or 0
    cut = (about.get("too_long") or 0) - refused
    found = []
    if cut > 0:
        found.append(
            f"{task}: {cut} of {n} prompts are longer than the model's context; their beginning was cut off"
        )
    if refused:
        found.append(
            f"{task}: {refused} of {n} prompts are longer than the model's context; the server refused them, "
            "and they count as not answered"
        )
    if about.get("empty"):
        found.append(f"{task}: {about['empty']} of {n} answers are empty")
    return found
