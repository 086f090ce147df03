"""What TrialPanorama's task files call: an answer scored against the gold of its question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from residency.benchmark import asked, ranking
from residency.benchmark.bioasq.exact import prf
from residency.benchmark.trialpanorama import answers
from residency.engines.lm_eval.answers import Mode
from residency.retrieval.boolean.engine import QueryRejected, SearchUnavailable, StudySearch
from rewards import sample_size

RETMAX = 1000
"""PMIDs that a query may give; the scores look at no more."""
BOTH: tuple[Mode, Mode] = ("strict", "lenient")
Counts = tuple[int, int, int, int, int]
"""Studies of a review: rightly included, wrongly included, missed, rightly excluded; and all."""


# ---- choice and sample size


def choice(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a question with options."""
    return asked.scored(_choice, doc, results)


def _choice(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    gold = asked.gold(doc)
    return _both(
        [answers.letter(text, gold["options"], mode) for mode in BOTH], lambda x: x == gold["answer"]
    )


def size(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a sample size: right within 20 %, both ends included."""
    return asked.scored(_size, doc, results)


def _size(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    target = asked.gold(doc)["target"]
    return _both(
        [answers.number(text, mode) for mode in BOTH],
        lambda given: bool(sample_size.answer("", repr(given), target, tag=None)),
    )


def _both(said: Sequence[Any], right: Any) -> dict[str, Any]:
    strict, lenient = said
    return {
        "accuracy": float(strict is not None and right(strict)),
        "accuracy_lenient": float(lenient is not None and right(lenient)),
        "unreadable": float(strict is None),
        "unreadable_lenient": float(lenient is None),
        "readings": tuple(None if one is None else str(one) for one in said),
    }


# ---- study search


@cache
def engine(index: str | None) -> StudySearch:
    """The search over an index on this disk, or PubMed itself."""
    if index is None:
        from residency.retrieval.boolean.live import LiveSearch

        return LiveSearch()
    from residency.retrieval.boolean.local import LocalSearch

    return LocalSearch.open(index)


@cache
def look_up(index: str | None, query: str) -> tuple[int, ...]:
    """The PMIDs that a query finds, best first. What fails is asked again the next time."""
    return tuple(ranking.pmids(engine(index).search(query, retmax=RETMAX).pmids))


def search(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of study search.

    A query that the search refuses finds nothing. A look-up that fails says nothing about the query:
    the question has no scores then, and is counted as unavailable.
    """
    return asked.scored(_search, doc, results)


def _search(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    gold = asked.gold(doc)
    strict, lenient = (answers.query(text, mode) for mode in BOTH)
    unread = {
        "unreadable": float(strict is None),
        "unreadable_lenient": float(lenient is None),
        "readings": (strict, lenient),
    }
    try:
        found, refused = _found(gold.get("index"), strict)
        other, _ = (found, refused) if lenient == strict else _found(gold.get("index"), lenient)
    except SearchUnavailable:
        return {"unavailable": 1.0, **unread}
    same = ranking.scores(gold["relevant"], other)["recall@100"]
    said = {"recall@100_lenient": same, "refused": float(refused), "unavailable": 0.0, **unread}
    return {**ranking.scores(gold["relevant"], found), **said}


def _found(index: str | None, query: str | None) -> tuple[tuple[int, ...], bool]:
    """What a query finds, and whether it was refused."""
    if query is None:
        return (), False
    try:
        return look_up(index, query), False
    except QueryRejected:
        return (), True


# ---- screening


def screening(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a review's screening.

    A study without a decision is not included, and is never rightly excluded: it is a miss, or, where
    it should be excluded, an error in the accuracies alone.
    """
    return asked.scored(_screening, doc, results)


def _screening(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    labels = {int(study): label for study, label in asked.gold(doc)["labels"].items()}
    said = [answers.decisions(text, mode) for mode in BOTH]
    found, lenient = (_screened(labels, one) for one in said)
    found["readings"] = tuple(
        "; ".join(f"{study} {label}" for study, label in one.items()) or None for one in said
    )
    found["macro_f1_of_included_lenient"] = lenient["macro_f1_of_included"]
    found["unreadable_lenient"] = lenient["unreadable"]
    return found


def _screened(labels: Mapping[int, str], said: Mapping[int, str]) -> dict[str, Any]:
    decided = [study for study in labels if study in said]
    pairs = [(label, said.get(study)) for study, label in labels.items()]
    right = pairs.count(("included", "included"))
    alarms = pairs.count(("excluded", "included"))
    missed = sum(label == "included" for label, _ in pairs) - right
    passed = pairs.count(("excluded", "excluded"))
    counts: Counts = (right, alarms, missed, passed, len(pairs))
    own = prf(right, right + alarms, right + missed)
    micro = dict.fromkeys(("micro_precision", "micro_recall", "micro_f1", "micro_accuracy"), counts)
    return {
        **micro,
        "macro_precision": own.precision,
        "macro_recall": own.recall,
        "macro_f1_of_included": own.f1,
        "macro_accuracy": (right + passed) / len(pairs),
        "all_right": float(right + passed == len(pairs)),
        "undecided": 1 - len(decided) / len(pairs),
        "unreadable": float(not decided),
    }


def _summed(found: Sequence[Counts]) -> list[int]:
    return [sum(column) for column in zip(*found, strict=True)]


def micro_precision(found: Sequence[Counts]) -> float:
    """lm-eval's aggregation: over all studies of all reviews."""
    right, alarms, missed, *_ = _summed(found)
    return prf(right, right + alarms, right + missed).precision


def micro_recall(found: Sequence[Counts]) -> float:
    """lm-eval's aggregation: over all studies of all reviews."""
    right, alarms, missed, *_ = _summed(found)
    return prf(right, right + alarms, right + missed).recall


def micro_f1(found: Sequence[Counts]) -> float:
    """lm-eval's aggregation: over all studies of all reviews."""
    right, alarms, missed, *_ = _summed(found)
    return prf(right, right + alarms, right + missed).f1


def micro_accuracy(found: Sequence[Counts]) -> float:
    """lm-eval's aggregation: over all studies of all reviews."""
    right, _, _, passed, n = _summed(found)
    return (right + passed) / n


# ---- completion


def completion(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, Any]:
    """lm-eval's `process_results` of a trial's outcome.

    `type_accuracy` is over all terminated trials: who says that one was completed has its reason
    wrong. `type_accuracy_given_outcome`, the published figure, is over those said to be terminated.
    """
    return asked.scored(_completion, doc, results)


def _completion(doc: Mapping[str, Any], text: str) -> dict[str, Any]:
    gold = asked.gold(doc)
    strict, reason = answers.outcome(text)
    lenient, _ = answers.outcome(text, "lenient")
    found: dict[str, Any] = _both([strict, lenient], lambda said: said == gold["outcome"])
    found["macro_f1"] = (gold["outcome"], strict)
    if gold["type"]:
        same = float(strict == "terminate" and reason == gold["type"])
        found["type_accuracy"] = same
        if strict == "terminate":
            found["type_accuracy_given_outcome"] = same
    return found
