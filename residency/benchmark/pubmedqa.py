"""PubMedQA's official evaluation: predictions and ground truth as {PMID: yes, no or maybe}.

Q. Jin et al., "PubMedQA: a dataset for biomedical research question answering", EMNLP 2019;
github.com/pubmedqa/pubmedqa, `evaluation.py`: accuracy and macro-F1 over the 500 test questions.
That script stops when the two files differ in their PMIDs. Here a question without a prediction is
wrong, and is counted and named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.benchmark import classes
from residency.benchmark.problems import Problems
from residency.benchmark.scored import Scored
from residency.errors import Missing, RecipeInvalid
from residency.files import jsonl_rows

LABELS = ("yes", "no", "maybe")


def score(truth: Mapping[str, Any], said: Mapping[str, Any], *, seed: int = 0) -> Scored:
    """Score predictions; each value is a label, whatever its case and outer spaces.

    Raises:
        RecipeInvalid: No PMID is in both.
    """
    problems = Problems()
    said = {str(pmid): value for pmid, value in said.items()}
    truth = {str(pmid): value for pmid, value in truth.items()}
    if not truth.keys() & said.keys():
        raise RecipeInvalid("no PMID of the ground truth has a prediction", "the ground truth comes first")
    for pmid in said.keys() - truth.keys():
        problems.add("a prediction for a PMID that is not in the ground truth; left out", pmid)
    rows: list[dict[str, Any]] = []
    for pmid, label in truth.items():
        gold = _label(label)
        if gold is None:
            problems.add("a ground truth that is none of yes, no, maybe; left out", pmid)
            continue
        answer = _label(said.get(pmid))
        if pmid not in said:
            problems.add("no prediction; counted as wrong", pmid)
        elif answer is None:
            problems.add("a prediction that is none of yes, no, maybe; counted as wrong", pmid)
        rows.append({"id": pmid, "gold": gold, "said": answer, "accuracy": float(gold == answer)})
    pairs = [(row["gold"], row["said"]) for row in rows]
    return Scored(classes.figures(pairs, LABELS, seed=seed), rows, problems)


def score_files(truth: Path, said: Path, *, seed: int = 0) -> Scored:
    """Score a file of predictions against a file of ground truth.

    Args:
        truth: {PMID: label}, or the questions' own file (`ori_pqal.json`).
        said: {PMID: label}, or the samples.jsonl of an evaluation of PubMedQA.
        seed: Of the bootstrap.

    Raises:
        Missing: A file is not there.
        RecipeInvalid: A file is none of these.
    """
    return score(_mapping(truth), _predictions(said), seed=seed)


def _predictions(path: Path) -> dict[str, Any]:
    """A mapping; or what was read in each answer of a run, whose ids are `PMID:pubmedqa`."""
    if path.suffix != ".jsonl":
        return _mapping(path)
    try:
        rows = jsonl_rows(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Missing(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise RecipeInvalid(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    tasks = {str(row.get("task")) for row in rows}
    if len(tasks) > 1:
        raise RecipeInvalid(
            f"{path} holds the answers of several tasks: {', '.join(sorted(tasks))}",
            "take out those of one",
        )
    return {str(row.get("id") or "").partition(":")[0]: row.get("extracted") for row in rows}


def _mapping(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise Missing(f"there is no file {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecipeInvalid(f"{path} is not JSON that can be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or not found:
        raise RecipeInvalid(f"{path} is no mapping of PMIDs to labels", 'the form is {"21645374": "yes", …}')
    # The questions' own file will do for the truth: each record has its final_decision.
    return {
        pmid: value.get("final_decision") if isinstance(value, dict) else value
        for pmid, value in found.items()
    }


def _label(value: object) -> str | None:
    plain = value.strip().casefold() if isinstance(value, str) else None
    return plain if plain in LABELS else None
