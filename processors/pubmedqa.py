"""PubMedQA (Jin et al., EMNLP 2019): 1,000 labelled yes/no/maybe questions, 500 of them the official test.

Source: github.com/pubmedqa/pubmedqa, `data/ori_pqal.json` (the questions) and
`data/test_ground_truth.json` (the PMIDs of the test set). The test questions are never given
to training, whatever is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from residency.benchmark.pubmedqa_split import FOLDS, split
from residency.errors import RecipeInvalid, StageFailed
from residency.processing import Allowed, Report, Row, gives, reads_files

LABELS = ("yes", "no", "maybe")
SYSTEM = "You answer questions about biomedical research from the abstracts of studies."
FORMAT = "Answer with exactly <answer>yes</answer>, <answer>no</answer> or <answer>maybe</answer>."
REASONED = (
    "Give your reasoning within <reasoning></reasoning>, then your answer as exactly "
    "<answer>yes</answer>, <answer>no</answer> or <answer>maybe</answer>."
)


@gives("system", "instruction", "input", "output", "pmid", "question_type", "label")
@reads_files
def read(
    rows: Iterator[Row],
    *,
    part: Literal["train", "dev", "test"],
    fold: Annotated[int, Allowed(minimum=0, maximum=FOLDS - 1)] | None = None,
    contexts: bool = True,
    section_names: bool = False,
    reasoning: bool = False,
    tags: bool = False,
    report: Report | None = None,
) -> Iterator[Row]:
    """One part of PubMedQA's labelled questions, as alpaca rows.

    Args:
        rows: The two files, in any order: the questions, and the ground truth of the test set.
        part: `test` gives the 500 official test questions, `train` the other 500; with a fold `train`
            gives 450 of those, and `dev` the 50 that are left.
        fold: One of the ten official folds, 0 to 9.
        contexts: With the abstract (less its conclusion) before the question; without, the model is
            asked the question only.
        section_names: With the name of each section of the abstract (METHODS: …).
        reasoning: The long answer stands before the answer tag in `output` (train only).
        tags: The prompt asks for reasoning within <reasoning> tags, and `output` has the long
            answer within them (train only).
        report: What was read, kept and dropped.

    Yields:
        system, instruction, input, output, pmid, question_type, label.

    Raises:
        StageFailed: A file is missing or is not what it should be.
        RecipeInvalid: `dev` without a fold.
    """
    if part == "dev" and fold is None:
        raise RecipeInvalid("part: dev needs a fold", f"add `fold: 0`; there are 0 to {FOLDS - 1}")
    report = report or Report()
    questions, truth = _files([Path(row["path"]) for row in rows])
    dev = _dev(questions, truth, fold) if fold is not None else frozenset()
    for pmid, record in questions.items():
        report.read += 1
        label = record.get("final_decision")
        if label not in LABELS or not str(record.get("QUESTION") or "").strip():
            report.drop("no question or no label", pmid)
        elif pmid in truth and truth[pmid] != label:
            report.drop("labelled otherwise in the ground truth", pmid)
        elif (pmid in truth) != (part == "test"):
            report.drop("of the test set" if pmid in truth else "not of the test set", pmid)
        elif fold is not None and part != "test" and (pmid in dev) != (part == "dev"):
            report.drop("of the fold's dev set" if pmid in dev else "not of the fold's dev set", pmid)
        else:
            report.kept += 1
            context = _context(record, section_names) if contexts else ""
            said = _plain(record.get("LONG_ANSWER")) if part == "train" else ""
            yield _row(pmid, str(record["QUESTION"]), context, label, said, reasoning=reasoning, tags=tags)
    absent = [pmid for pmid in truth if pmid not in questions]
    if absent:
        raise StageFailed(
            f"{len(absent)} of the {len(truth)} test questions are not in the file of questions "
            f"(the first: {absent[0]})",
            "take ori_pqal.json and test_ground_truth.json from the same commit",
        )


@gives("system", "instruction", "input", "output", "pmid", "question_type", "label")
@reads_files
def read_golden(
    rows: Iterator[Row],
    *,
    contexts: bool = True,
    reasoning: bool = False,
    tags: bool = False,
    report: Report | None = None,
) -> Iterator[Row]:
    """Questions in the golden format, as rows to train on; the official test set is left out.

    The format is a list of `{id, question, context, reasoning, perfect_reasoning, ground_truth}`,
    the id a PMID. The published golden file holds nothing but official test questions, so that
    nothing of it remains: training on it would be training on the test.

    Args:
        rows: The files, in any order: golden lists, and the ground truth of the test set.
        contexts: With the abstract before the question.
        reasoning: As `read`; the row's `perfect_reasoning` or `reasoning` stands there.
        tags: As `read`.
        report: What was read, kept and dropped.

    Yields:
        The columns of `read`.

    Raises:
        StageFailed: A file is missing or is not what it should be.
    """
    report = report or Report()
    golden, truth = _golden_files([Path(row["path"]) for row in rows])
    for item in golden:
        report.read += 1
        pmid, label = str(item.get("id") or ""), str(item.get("ground_truth") or "").strip().lower()
        if label not in LABELS or not str(item.get("question") or "").strip() or not pmid:
            report.drop("no id, no question or no label", pmid)
        elif pmid in truth:
            report.drop("of the test set", pmid)
        else:
            report.kept += 1
            context = _plain(item.get("context")) if contexts else ""
            said = _plain(item.get("perfect_reasoning") or item.get("reasoning"))
            yield _row(pmid, str(item["question"]), context, label, said, reasoning=reasoning, tags=tags)


def _dev(questions: Mapping[str, Mapping[str, Any]], truth: Mapping[str, str], fold: int) -> frozenset[str]:
    """The dev questions of an official fold."""
    labels = {pmid: record.get("final_decision") for pmid, record in questions.items()}
    if any(label not in LABELS for label in labels.values()):
        raise StageFailed("the folds need a label for each question", "take the whole ori_pqal.json")
    found = split({pmid: str(label) for pmid, label in labels.items()})
    if set(found.test) != set(truth):
        raise StageFailed(
            "the official split of these questions does not give the ground truth's test set",
            "the folds need the whole ori_pqal.json, in its own order, and test_ground_truth.json beside it",
        )
    return frozenset(found.folds[fold])


def _row(
    pmid: str, question: str, context: str, label: str, said: str, *, reasoning: bool, tags: bool
) -> Row:
    answer = f"<answer>{label}</answer>"
    if tags and said:
        output = f"<reasoning>{said}</reasoning>\n{answer}"
    else:
        output = f"{said}\n{answer}" if reasoning and said else answer
    return {
        "system": SYSTEM,
        "instruction": f"{question.strip()} {REASONED if tags else FORMAT}",
        "input": context,
        "output": output,
        "pmid": pmid,
        "question_type": "pubmedqa",
        "label": label,
    }


def _plain(value: object) -> str:
    """A text, or the texts of a list, with single spaces."""
    parts = value if isinstance(value, list) else [value or ""]
    return " ".join(" ".join(str(part) for part in parts).split())


def _context(record: dict[str, Any], section_names: bool) -> str:
    sections = [" ".join(str(text).split()) for text in record.get("CONTEXTS") or []]
    if section_names:
        names = [*(record.get("LABELS") or []), *[""] * len(sections)]
        sections = [f"{name}: {text}" if name else text for name, text in zip(names, sections, strict=False)]
    return "\n".join(sections)


def _golden_files(paths: list[Path]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The golden rows and the ground truth, told apart by what is in them."""
    golden: list[dict[str, Any]] = []
    truth: dict[str, str] = {}
    for path in paths:
        found = _json(path)
        if isinstance(found, list) and all(isinstance(item, dict) for item in found):
            golden += found
        elif isinstance(found, dict) and found and all(isinstance(value, str) for value in found.values()):
            truth.update(found)
        else:
            raise StageFailed(f"{path} is neither a golden list nor PubMedQA's ground truth")
    _complete(golden, truth, "golden rows")
    return golden, truth


def _files(paths: list[Path]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The questions and the ground truth, told apart by what is in them."""
    questions: dict[str, dict[str, Any]] = {}
    truth: dict[str, str] = {}
    for path in paths:
        found = _json(path)
        if not isinstance(found, dict) or not found:
            raise StageFailed(f"{path} is no mapping of PMIDs", "take it from github.com/pubmedqa/pubmedqa")
        if all(isinstance(value, dict) for value in found.values()):
            questions.update(found)
        elif all(isinstance(value, str) for value in found.values()):
            truth.update(found)
        else:
            raise StageFailed(f"{path} is neither PubMedQA's questions nor its ground truth")
    _complete(questions, truth, "questions (ori_pqal.json)")
    return questions, truth


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StageFailed(f"{path} is not JSON that can be read: {error}") from None


def _complete(questions: object, truth: object, what: str) -> None:
    if not questions or not truth:
        missing = what if not questions else "ground truth (test_ground_truth.json)"
        raise StageFailed(
            f"the file of {missing} is not among the sources",
            "name both files under `from:`; without the ground truth test questions could reach training",
        )
