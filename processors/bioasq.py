"""BioASQ task B's questions, to ask a model or to train one.

Source: participants-area.bioasq.org, after registration: the training files and the golden files of
past batches. NLM's terms hold for the texts; the files stay with whoever registered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from residency.benchmark.bioasq.read import Question, Snippet, load
from residency.benchmark.ranking import pmid
from residency.processing import Allowed, Report, Row, gives, reads_files

SYSTEM = "You answer questions about biomedical research."
Type = Literal["yesno", "factoid", "list"]
FORMATS: dict[str, str] = {
    "yesno": "Answer with exactly <answer>yes</answer> or <answer>no</answer>.",
    "factoid": (
        "Answer with the name or number alone, within <answer></answer>; if you are not sure, give up to "
        "five, each on a line of its own, the likeliest first."
    ),
    "list": "Answer with all that apply, within <answer></answer>, each on a line of its own.",
}


@gives("id", "system", "instruction", "input", "output", "question_type", "gold", "pmids")
@reads_files
def read(
    rows: Iterator[Row],
    *,
    types: Sequence[Type] = ("yesno", "factoid", "list"),
    snippets: bool = True,
    most_snippets: Annotated[int, Allowed(minimum=1)] = 10,
    names: bool = True,
    report: Report | None = None,
) -> Iterator[Row]:
    """Questions with exact answers.

    Args:
        rows: BioASQ's JSON files (also gzipped).
        types: Which questions; those of type `summary` have no exact answer.
        snippets: Open book: with the snippets that experts chose. Without, closed book.
        most_snippets: The most snippets of a question, the first of the file.
        names: The PMID stands before each snippet, so that an answer can cite it.
        report: What was read, kept and dropped.

    Yields:
        id, system, instruction, input (the snippets), output (the right answer in its tag),
        question_type, gold (what the scores compare with), pmids (of the documents).
    """
    report = report or Report()
    seen: set[str] = set()
    for row in rows:
        batch = load(Path(row["path"]))
        for problem, count in batch.problems.counts.items():
            noted = report.notes.setdefault("problems", {})
            noted[problem] = noted.get(problem, 0) + count
        for question in batch.questions.values():
            report.read += 1
            if question.type not in types:
                report.drop(f"of type {question.type}", question.id)
            elif question.id in seen:
                report.drop("an id of another file", question.id)
            elif not question.body.strip():
                report.drop("no question", question.id)
            elif not (gold := _gold(question)):
                report.drop("no exact answer", question.id)
            else:
                seen.add(question.id)
                report.kept += 1
                yield _row(question, gold, question.snippets[: most_snippets * snippets], names)


def _gold(question: Question) -> str | list[list[str]] | None:
    """yes or no; or the answers with their synonyms."""
    if question.type == "yesno":
        return question.said if question.said != "none" else None
    return [list(one) for one in question.answers or ()]


def _pmid(address: str) -> int | None:
    """The PMID of a document's address."""
    return pmid(address.rstrip("/").rpartition("/")[2])


def _passage(snippet: Snippet, names: bool) -> str:
    found, text = _pmid(snippet.document), " ".join(snippet.text.split())
    return f"PMID {found}: {text}" if names and text and found is not None else text


def _row(question: Question, gold: str | list[list[str]], snippets: Sequence[Snippet], names: bool) -> Row:
    right = (
        [gold]
        if isinstance(gold, str)
        else [one[0] for one in gold[: 1 if question.type == "factoid" else None]]
    )
    found = [_pmid(address) for address in question.documents]
    return {
        "id": question.id,
        "system": SYSTEM,
        "instruction": f"{question.body.strip()} {FORMATS[str(question.type)]}",
        "input": "\n".join(filter(None, (_passage(one, names) for one in snippets))),
        "output": "<answer>" + "\n".join(right) + "</answer>",
        "question_type": str(question.type),
        "gold": gold,
        "pmids": [one for one in found if one is not None],
    }
