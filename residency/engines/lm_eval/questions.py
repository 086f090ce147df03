"""What the task files under recipes/tasks/ call: questions read from a local file, answers scored.

A row is in alpaca form: `instruction`, `input` (may be empty), `output` with the right answer
within `<answer>…</answer>`, and maybe `system`, `id`, `pmid`, `question_type`, `label`. The
prompt is the instruction and the input with a line break between them, as LLaMA-Factory joins
them, so that a model is asked as it was trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from residency import stats
from residency.engines.lm_eval.answers import Mode, extract

COLUMNS = ("instruction", "output")
"""The columns that every row must have."""


class BadRow(ValueError):
    """A row that is no question: which file, which row, what is wrong with it."""


def read(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a JSONL file, or of a JSON file that is a list, each with its number from 1.

    A JSONL row's number is its line.

    Raises:
        BadRow: When a line, or the file, is not JSON.
    """
    with path.open(encoding="utf-8-sig") as stream:
        first = stream.read(1)
        while first and first.isspace():
            first = stream.read(1)
        stream.seek(0)
        if first == "[":
            try:
                yield from enumerate(json.load(stream), 1)
            except json.JSONDecodeError as error:
                raise BadRow(f"{path}: not JSON: {error}") from None
            return
        for number, line in enumerate(stream, 1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    raise BadRow(f"{path}: line {number} is not JSON: {error.msg}") from None


def gold(row: Mapping[str, Any], labels: Sequence[str]) -> str:
    """The right answer: the label within the tag of `output`.

    Raises:
        BadRow: Without an allowed label there, or when the row's `label` says otherwise.
    """
    answer = extract(str(row["output"]), labels)
    allowed = ", ".join(labels)
    if answer is None:
        end = str(row["output"])[-60:]
        raise BadRow(f"its output has no <answer>…</answer> with one of {allowed}: {end!r}")
    label = row.get("label")
    said = label.strip().casefold() if isinstance(label, str) else None
    if said in {x.casefold() for x in labels} and said != answer.casefold():
        raise BadRow(f"its output answers {answer!r} but its label is {label!r}")
    return answer


def question(row: Any, labels: Sequence[str], number: int) -> dict[str, Any]:
    """One row as the task sees it: `id`, `system`, `question`, `answer`.

    Raises:
        BadRow: When a column is missing or empty, or there is no allowed answer.
    """
    if not isinstance(row, dict):
        raise BadRow("it is not a mapping")
    missing = [name for name in COLUMNS if not str(row.get(name) or "").strip()]
    if missing:
        raise BadRow(f"it lacks {' and '.join(missing)}")
    parts = [str(row["instruction"]), str(row.get("input") or "")]
    return {
        "id": identity(row, number),
        "system": str(row.get("system") or ""),
        "question": "\n".join(part for part in parts if part.strip()),
        "answer": gold(row, labels),
    }


def identity(row: Mapping[str, Any], number: int) -> str:
    """A row's name in samples.jsonl: its `id`, its PMID and question type, or its number."""
    if row.get("id") not in (None, ""):
        return str(row["id"])
    known = [str(row[key]) for key in ("pmid", "question_type") if row.get(key) not in (None, "")]
    return ":".join(known) if row.get("pmid") not in (None, "") else str(number)


def load(path: Path, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Every question of a file; a name that comes twice gets the row's number added.

    Raises:
        BadRow: Naming the file and the first row that is no question; or when there is none.
        FileNotFoundError: When the file is not there.
    """
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, row in read(path):
        try:
            item = question(row, labels, number)
        except BadRow as error:
            raise BadRow(f"{path}: row {number}: {error}") from None
        if item["id"] in seen:
            item["id"] = f"{item['id']}#{number}"
        seen.add(item["id"])
        found.append(item)
    if not found:
        raise BadRow(f"{path}: there are no rows in it")
    return found


def rows(
    *,
    data_files: Mapping[str, str],
    labels: Sequence[str],
    answer: Mode = "strict",
    chat: bool = False,
    **_: Any,
) -> dict[str, Any]:
    """lm-eval's `custom_dataset`: split name → its questions, with `labels` and `mode` beside each.

    Args:
        data_files: Split name → file.
        labels: The allowed answers, in the order in which choices are shown.
        answer: How the model's answer is read: `strict` or `lenient`.
        chat: Whether a chat template parts system, question and answer; without one, line breaks do.
    """
    from datasets import Dataset  # type: ignore[attr-defined]  # lm-eval wants its type; our datasets/ misleads mypy

    if answer not in ("strict", "lenient"):
        raise BadRow(f"dataset_kwargs.answer is {answer!r}: it must be strict or lenient")
    extra = {"labels": list(labels), "mode": answer}
    found = {}
    for split, path in data_files.items():
        items = [{**item, **extra} for item in load(Path(path), labels)]
        if not chat:
            for item in items:
                item["system"] += "\n\n" if item["system"] else ""
                item["question"] += "\n"
        found[split] = Dataset.from_list(items)
    return found


def score(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, Any]:
    """lm-eval's `process_results` for a generated answer."""
    said = extract(results[0], doc["labels"], mode=doc["mode"])
    return {**_scores(doc["answer"], said), "unreadable": float(said is None)}


def choose(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """lm-eval's `process_results` for the likelihood of each label: the likeliest is the answer.

    The sum over the label's tokens counts, not their mean. Of equals the first label is taken.
    """
    likelihoods = [float(value) for value, _ in results]
    return _scores(doc["answer"], doc["labels"][likelihoods.index(max(likelihoods))])


def _scores(right: str, said: str | None) -> dict[str, Any]:
    return {"accuracy": float(said == right), "macro_f1": (right, said)}


def macro_f1(pairs: Sequence[tuple[str, str | None]]) -> float:
    """lm-eval's aggregation of the (gold, answer) pairs that `score` and `choose` give."""
    return stats.macro_f1(pairs)
