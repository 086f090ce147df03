"""Small BioASQ batches."""

from __future__ import annotations

from typing import Any

from residency.benchmark.bioasq import read, score

GOLD: dict[str, Any] = {
    "yesno": "yes",
    "factoid": [["BRCA1", "breast cancer 1"]],
    "list": [["a"], ["b", "c"]],
}


def question(name: str, kind: str, exact: Any = ..., **more: Any) -> dict[str, Any]:
    found = {"id": name, "type": kind, "body": f"Question {name}?", **more}
    return found if exact is ... else found | {"exact_answer": exact}


def batch(*questions: dict[str, Any], gold: bool = True) -> read.Batch:
    return read.parse({"questions": list(questions)}, "gold.json" if gold else "system.json", gold=gold)


def values(
    gold: list[dict[str, Any]], system: list[dict[str, Any]], phase: score.Phase, edition: int = 8
) -> Any:
    return score.score(batch(*gold), batch(*system, gold=False), phase, edition=edition).values()


def one(kind: str, gold: Any, said: Any) -> Any:
    """The phase-B scores of one question."""
    return values([question("q", kind, gold)], [question("q", kind, said)], "b")


def snippet(begin: int, end: int, document: str = "http://x/1", section: str = "abstract") -> dict[str, Any]:
    return {
        "document": document,
        "beginSection": section,
        "endSection": section,
        "offsetInBeginSection": begin,
        "offsetInEndSection": end,
        "text": "…",
    }
