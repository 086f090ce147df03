"""What the task files of benchmarks with gold answers of their own shape call: rows read, answers scored.

A row has `instruction`, maybe `system` and `input`, an `id`, and `gold`: what its task's scoring
function wants. `processors.bioasq` and `processors.trialpanorama` write such rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from residency.engines.lm_eval.answers import within_tag
from residency.engines.lm_eval.questions import BadRow, every, identity, rendered
from residency.evaluation import prompts, styles

COLUMNS = ("instruction", "gold")
"""The columns that every row must have."""
EXAMPLE = "{row.output}"
"""What an example's answer is, where the style does not say."""
Score = dict[str, Any]
One = Callable[[Mapping[str, Any], str], Score]
"""(question, answer) → metric → value: a number, or a tuple that the task's aggregation takes; and
`readings`: what was read, strictly and leniently, as text or None."""


def rows(
    *,
    data_files: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    prompt: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, Any]:
    """lm-eval's `custom_dataset`: split name → its questions, each with its messages.

    Args:
        data_files: Split name → file.
        settings: What the task's scoring function wants to know beside the question.
        prompt: The keys of a style.

    Raises:
        BadRow: No file is named, one holds no questions, or a row lacks what the style names.
    """
    if not data_files:
        raise BadRow("the task needs a data file: add `data: {TASK: PATH}` to the recipe")
    from datasets import Dataset  # type: ignore[attr-defined]  # lm-eval wants its type; our datasets/ misleads mypy

    style = in_style(prompt or {})
    examples = prompts.Examples(load(Path(style.examples)) if style.shots and style.examples else [], style)
    found = {}
    for split, path in data_files.items():
        docs = [doc(one, style, examples, Path(path)) for one in load(Path(path))]
        found[split] = Dataset.from_list([{**one, "settings": json.dumps(settings or {})} for one in docs])
    return found


def in_style(keys: Mapping[str, Any]) -> styles.Style:
    """The style of its keys. An example's answer is the row's own, in the form that its question asks for.

    Raises:
        BadStyle: All that is wrong with it at once.
    """
    return styles.style({"example": EXAMPLE, **keys})


def load(path: Path) -> list[dict[str, Any]]:
    """Every question of a file, as `item`; raises as `residency.engines.lm_eval.questions.every`."""
    return every(path, item)


def item(row: Any, number: int) -> dict[str, Any]:
    """One row as `residency.evaluation.prompts` asks it, without options.

    Raises:
        BadRow: It has no instruction, or no gold answer.
    """
    if not isinstance(row, dict):
        raise BadRow("it is not a mapping")
    missing = [key for key in COLUMNS if row.get(key) is None or row[key] in ("", [])]
    if missing:
        raise BadRow(f"it lacks {' and '.join(missing)}")
    evidence, output = str(row.get("input") or ""), str(row.get("output") or "")
    return {
        "id": identity(row, number),
        "system": str(row.get("system") or ""),
        "question": str(row["instruction"]),
        "context": [evidence] if evidence.strip() else [],
        "options": {},
        "labels": [],
        "answer": within_tag(output) or output,
        "row": row,
    }


def doc(
    one: Mapping[str, Any], style: styles.Style, examples: prompts.Examples, path: Path
) -> dict[str, Any]:
    """A question as lm-eval keeps it, with `answer` (the gold one as JSON) and `label` (as text).

    Raises:
        BadRow: The row lacks what the style names, or there are too few examples.
    """
    gold = one["row"]["gold"]
    return {
        **rendered(one, style, examples, path),
        "answer": json.dumps(gold, ensure_ascii=False),
        "label": _label(gold),
    }


def _label(gold: Any) -> str:
    """The one right answer where it is a label, so that several answers can vote; else ""."""
    if isinstance(gold, str):
        return gold
    return str(gold.get("outcome") or gold.get("answer") or "") if isinstance(gold, dict) else ""


def gold(doc: Mapping[str, Any]) -> Any:
    """The gold answer of a question."""
    return json.loads(doc["answer"])


def settings(doc: Mapping[str, Any]) -> dict[str, Any]:
    """What the task file says for its scoring function."""
    found: dict[str, Any] = json.loads(doc.get("settings") or "{}")
    return found


def scored(one: One, doc: Mapping[str, Any], results: Sequence[str | Sequence[str]]) -> Score:
    """lm-eval's `process_results` by a function that scores one answer.

    Of several answers to a question each number is the mean over those that have it, and a tuple is
    that of the first.
    """
    given = results[0]
    found = [one(doc, text) for text in ([given] if isinstance(given, str) else given)]
    readings = [list(each.pop("readings")) for each in found]
    names = dict.fromkeys(name for each in found for name in each)
    means = {name: _mean([each[name] for each in found if name in each]) for name in names}
    return {**means, "readings": readings}


def _mean(values: Sequence[Any]) -> Any:
    if len(values) == 1 or any(isinstance(value, tuple) for value in values):
        return values[0]
    return sum(values) / len(values)
