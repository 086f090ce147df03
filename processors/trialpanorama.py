"""TrialPanorama's benchmark rows (arXiv:2505.16097; its JSONL files), as questions to ask a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from residency.benchmark.trialpanorama.questions import SYSTEM, TASKS, BadRow
from residency.errors import Missing
from residency.files import sha256_file
from residency.processing import Report, Row, gives


@gives("id", "system", "instruction", "input", "output", "question_type", "gold")
def questions(
    rows: Iterator[Row],
    *,
    task: Literal["study_search", "sample_size", "choice", "screening", "completion"],
    index: str | None = None,
    report: Report | None = None,
) -> Iterator[Row]:
    """Questions of one task; rows that are none are counted with the reason.

    Args:
        rows: Rows of one of the benchmark's files. `choice` takes arm design, eligibility, endpoints and
            evidence.
        task: Which task they are of.
        index: For study search: the folder of an index (`launch.py pubmed index`) in which queries are
            looked up; None for PubMed itself.
        report: What was read, kept and dropped.

    Yields:
        id, system, instruction, input, output (a right answer; for study search the PMIDs themselves, which
        is nothing to train on), question_type, gold.

    Raises:
        Missing: There is no index there.
    """
    report = report or Report()
    where = _index(index) if task == "study_search" else {}
    seen: set[str] = set()
    for number, row in enumerate(rows, 1):
        report.read += 1
        try:
            found = TASKS[task](row)
        except BadRow as error:
            report.drop(str(error), row.get("id") or f"row {number}")
            continue
        name = found.id or str(number)
        if name in seen:
            report.drop("an id that was there before", name)
            continue
        seen.add(name)
        report.kept += 1
        yield {
            "id": name,
            "system": SYSTEM,
            "instruction": found.instruction,
            "input": found.input,
            "output": found.output,
            "question_type": task,
            "gold": {**found.gold, **where},
        }


def _index(index: str | None) -> dict[str, Any]:
    """Where queries are looked up; with the hash of what lies there, for another index is another task."""
    if index is None:
        return {}
    folder = Path(index).expanduser().absolute()
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        raise Missing(
            f"there is no index in {folder}", "make it with `python launch.py pubmed index CORPUS -o DIR`"
        )
    return {"index": str(folder), "index_sha256": sha256_file(manifest)}
