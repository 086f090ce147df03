"""What the task files under recipes/tasks/ call: questions read from a local file, answers scored.

A row is in one of two forms. In alpaca form: `instruction`, `input` (may be empty), `output` with the
right answer within `<answer>…</answer>`, and maybe `system`, `id`, `pmid`, `question_type`, `label`. Without
a prompt style the prompt is the instruction and the input with a line break between them, as
LLaMA-Factory joins them, so that a model is asked as it was trained. With options:
`residency.evaluation.choices`; a task of such rows says `choices: true`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from residency import functions, stats
from residency.engines.lm_eval.answers import Mode, extract
from residency.evaluation import choices as with_options
from residency.evaluation import prompts, styles
from residency.evaluation.choices import BadRow as BadRow

COLUMNS = ("instruction", "output")
"""The columns that every row in alpaca form must have."""

Reading = Callable[[str, Mapping[str, Any]], str | None]
"""(answer, row) → the label that it gives, or None."""


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


def item(row: Any, labels: Sequence[str], number: int) -> dict[str, Any]:
    """One row as `residency.evaluation.prompts` asks it; without `labels` it is a row with options.

    Raises:
        BadRow: When a column is missing or empty, or there is no allowed answer.
    """
    if not labels:
        return with_options.item(row, number)
    if not isinstance(row, dict):
        raise BadRow("it is not a mapping")
    missing = [name for name in COLUMNS if not str(row.get(name) or "").strip()]
    if missing:
        raise BadRow(f"it lacks {' and '.join(missing)}")
    evidence = str(row.get("input") or "")
    return {
        "id": identity(row, number),
        "system": str(row.get("system") or ""),
        "question": str(row["instruction"]),
        "context": [evidence] if evidence.strip() else [],
        "options": {},
        "labels": list(labels),
        "answer": gold(row, labels),
        "row": row,
    }


def question(row: Any, labels: Sequence[str], number: int) -> dict[str, Any]:
    """One row as it is asked without a style: `id`, `system`, `question`, `answer`.

    Raises:
        BadRow: When a column is missing or empty, or there is no allowed answer.
    """
    found = item(row, labels, number)
    asked = prompts.render(found, styles.Style()).messages[-1]["content"]
    return {"id": found["id"], "system": found["system"], "question": asked, "answer": found["answer"]}


def identity(row: Mapping[str, Any], number: int) -> str:
    """A row's name in samples.jsonl: its `id`, its PMID and question type, or its number."""
    if row.get("id") not in (None, ""):
        return str(row["id"])
    known = [str(row[key]) for key in ("pmid", "question_type") if row.get(key) not in (None, "")]
    return ":".join(known) if row.get("pmid") not in (None, "") else str(number)


def load(path: Path, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Every question of a file, as `item` gives it; raises as `every`."""
    return every(path, lambda row, number: item(row, labels, number))


def every(path: Path, make: Callable[[Any, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Every question of a file; a name that comes twice gets the row's number added.

    Args:
        path: The file.
        make: Makes a question of a row and its number; raises BadRow for one that is none.

    Raises:
        BadRow: Naming the file and the first row that is no question; or when there is none.
        FileNotFoundError: When the file is not there.
    """
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, row in read(path):
        try:
            one = make(row, number)
        except BadRow as error:
            raise BadRow(f"{path}: row {number}: {error}") from None
        if one["id"] in seen:
            one["id"] = f"{one['id']}#{number}"
        seen.add(one["id"])
        found.append({**one, "number": number})
    if not found:
        raise BadRow(f"{path}: there are no rows in it")
    return found


def rows(
    *,
    data_files: Mapping[str, str],
    labels: Sequence[str] = (),
    choices: bool = False,
    answer: Mode = "strict",
    prompt: Mapping[str, Any] | None = None,
    strict: str | None = None,
    lenient: str | None = None,
    by: str | None = None,
    **_: Any,
) -> dict[str, Any]:
    """lm-eval's `custom_dataset`: split name → its questions, each with its messages.

    Args:
        data_files: Split name → file.
        labels: The allowed answers, in the order in which choices are shown.
        choices: The rows have options of their own instead.
        answer: How the model's answer is read where no function is named: `strict` or `lenient`.
        prompt: The keys of a style.
        strict: Dotted path of the strict reading; the style's goes before it.
        lenient: Dotted path of the lenient reading, reported beside the strict one.
        by: A field of the rows; accuracy is given for each of its values too.
    """
    from datasets import Dataset  # type: ignore[attr-defined]  # lm-eval wants its type; our datasets/ misleads mypy

    if answer not in ("strict", "lenient"):
        raise BadRow(f"dataset_kwargs.answer is {answer!r}: it must be strict or lenient")
    if bool(labels) == bool(choices):
        raise BadRow("dataset_kwargs must have either `labels` or `choices: true`")
    style = styles.style(prompt or {})
    readings = {"strict": style.strict or strict, "lenient": style.lenient or lenient}
    examples = _examples(style, labels)
    found = {}
    for split, path in data_files.items():
        asked = [_doc(one, style, examples, Path(path), by) for one in load(Path(path), labels)]
        extra = {"mode": answer, **readings}
        found[split] = Dataset.from_list([{**doc, **extra} for doc in asked])
    return found


def _examples(style: styles.Style, labels: Sequence[str]) -> prompts.Examples:
    drawn = load(Path(style.examples), labels) if style.shots and style.examples else []
    return prompts.Examples(drawn, style)


def _doc(
    one: Mapping[str, Any], style: styles.Style, examples: prompts.Examples, path: Path, by: str | None
) -> dict[str, Any]:
    """A question as lm-eval keeps it."""
    return {
        **rendered(one, style, examples, path),
        "answer": one["answer"],
        "labels": one["labels"],
        "texts": list(one["options"].values()),
        "by": str(one["row"].get(by, "")) if by else "",
    }


def rendered(
    one: Mapping[str, Any], style: styles.Style, examples: prompts.Examples, path: Path
) -> dict[str, Any]:
    """What lm-eval keeps of a question of either form: a flat row whose `messages` are what is asked.

    Raises:
        BadRow: The row lacks what the style names, or there are too few examples.
    """
    try:
        asked = prompts.render(one, style, examples.of(one))
    except BadRow as error:
        raise BadRow(f"{path}: row {one['number']}: {error}") from None
    return {
        "id": one["id"],
        "system": one["system"],
        "question": asked.messages[-1]["content"],
        "messages": [dict(message) for message in asked.messages],
        "then": asked.then,
        "then_tokens": style.then_tokens,
    }


# ---- scores


@cache
def reading(path: str) -> Reading:
    """The function at a dotted path."""
    return functions.load(path)


def readings(doc: Mapping[str, Any], text: str) -> tuple[str | None, str | None]:
    """What an answer says by the strict and by the lenient reading of its task.

    A reading that gives what is none of the labels has read nothing. Without a lenient one the second
    is None.
    """
    row = {**doc, "options": dict(zip(doc["labels"], doc.get("texts") or (), strict=False))}

    def by(path: str | None) -> str | None:
        said = reading(path)(text, row) if path else None
        return said if said in doc["labels"] else None

    strict = (
        by(doc["strict"])
        if doc.get("strict")
        else extract(text, doc["labels"], mode=doc.get("mode", "strict"))
    )
    return strict, by(doc.get("lenient"))


def score(doc: Mapping[str, Any], results: Sequence[str | Sequence[str]]) -> dict[str, Any]:
    """lm-eval's `process_results` for a generated answer, or for several to the same question.

    Of several, each figure is the mean over them; `readings` has all.
    """
    given = results[0]
    said = [readings(doc, text) for text in ([given] if isinstance(given, str) else given)]
    n = len(said)
    strict = sum(one == doc["answer"] for one, _ in said) / n
    found: dict[str, Any] = {"accuracy": strict, "unreadable": sum(one is None for one, _ in said) / n}
    if not doc.get("texts"):  # letters are no classes
        found["macro_f1"] = (doc["answer"], said[0][0])
    if doc.get("lenient"):
        found["accuracy_lenient"] = sum(one == doc["answer"] for _, one in said) / n
        found["unreadable_lenient"] = sum(one is None for _, one in said) / n
    if n > 1 or doc.get("lenient") or doc.get("texts"):
        found["readings"] = [list(one) for one in said]
    return found


def choose(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    """lm-eval's `process_results` for the likelihood of each label: the likeliest is the answer.

    The sum over the label's tokens counts, not their mean. Of equals the first label is taken.
    """
    likelihoods = [float(value) for value, _ in results]
    said = doc["labels"][likelihoods.index(max(likelihoods))]
    return {"accuracy": float(said == doc["answer"]), "macro_f1": (doc["answer"], said)}


def macro_f1(pairs: Sequence[tuple[str, str | None]]) -> float:
    """lm-eval's aggregation of the (gold, answer) pairs that `score` and `choose` give."""
    return stats.macro_f1(pairs)
