"""Medical questions with options, from the forms in which they are published, as rows of ours.

A row has `id`, `source`, `question` (without the options), `options` {letter: text}, `label`, `answer`
(the right option's text), and the fields of the source that say what it is about.

A row that is no question (no id, no label, a label outside the options, an empty option, an id or a
question that came before) is counted and named with its number in its file; the stage fails, or leaves
it out where the recipe says so. No label is ever made up.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from residency.errors import StageFailed
from residency.evaluation.choices import LETTERS, BadRow, label_of, options_of
from residency.processing import Report, Row, gives, reads_files

FIELDS = ("id", "source", "question", "options", "label", "answer")
ABOUT = ("subject", "topic", "medical_task", "body_system", "question_type", "explanation")
MARK = "\nAnswer Choices: "
"""Between a question and its options, where one text holds both."""
SHOWN = 10
"""How many bad rows a failure names."""

Bad = Literal["fail", "leave_out"]
Repeated = Literal["fail", "leave_out", "keep"]


@gives(*FIELDS, *ABOUT)
@reads_files
def read_medxpertqa(
    rows: Iterator[Row],
    *,
    ids: Literal["given", "made"] = "given",
    bad: Bad = "fail",
    repeated: Repeated = "fail",
    report: Report | None = None,
) -> Iterator[Row]:
    """The form of MedXpertQA and of the sets that its repository holds (MedQA, MedMCQA, MMLU medical).

    JSON lines `{id, question, options?, label: [letter]}`, where `question` ends with "Answer Choices:
    (A) … (B) …".

    Args:
        rows: Files, each with a `path` and the name of its source.
        ids: `made` names rows by source and number, for a file without ids.
        bad: What becomes of a row that is no question.
        repeated: What becomes of a question that came before with the same options; `keep` counts it.
        report: What was read, kept and dropped.
    """
    yield from _read(rows, _medxpertqa, ids, bad, repeated, report)


@gives(*FIELDS, *ABOUT)
@reads_files
def read_huatuo(
    rows: Iterator[Row],
    *,
    ids: Literal["given", "made"] = "made",
    sources: str | list[str] | None = None,
    bad: Bad = "fail",
    repeated: Repeated = "fail",
    report: Report | None = None,
) -> Iterator[Row]:
    """HuatuoGPT-o1's form: {source: [{question, options: {letter: text}, answer_idx, answer?, …}]}.

    A list of such rows, or one a line, is read too; their source is then the file's.

    Args:
        rows: Files, each with a `path` and the name of its source.
        ids: `made` names rows by source and number; `given` asks each row for its `id`.
        sources: Only these sources of the file.
        bad: What becomes of a row that is no question.
        repeated: What becomes of a question that came before with the same options; `keep` counts it.
        report: What was read, kept and dropped.
    """
    wanted = {sources} if isinstance(sources, str) else set(sources or ())
    yield from _read(rows, _huatuo, ids, bad, repeated, report, wanted)


# ---- one row


def _medxpertqa(row: Row) -> Row:
    text = str(row.get("question") or "")
    stem, mark, listed = text.rpartition(MARK)
    if not mark:
        if not row.get("options"):
            raise BadRow("its question has no “Answer Choices:”")
        stem = text
    written = options_in_text(listed) if mark else None
    options = options_of(row["options"] if row.get("options") else written)
    if written is not None and list(written.values()) != list(options.values()):
        raise BadRow("its options are not those in its question")
    return _made(row, stem, options, row.get("label"))


def options_in_text(listed: str) -> dict[str, str]:
    """The options of "(A) one (B) two": each letter is looked for after the one before it.

    So "(D) Both (A) & (C)" is one option.

    Examples:
        >>> options_in_text("(A) aspirin (B) both (A) and rest")
        {'A': 'aspirin', 'B': 'both (A) and rest'}
    """
    places: list[int] = []
    at = 0
    for letter in LETTERS:
        found = re.compile(rf"\({letter}\)(?=\s|$)").search(listed, at)
        if found is None or (not places and listed[: found.start()].strip()):
            break
        places.append(found.start())
        at = found.end()
    ends = [*places[1:], len(listed)]
    return {
        letter: listed[start + 3 : end].strip()
        for letter, start, end in zip(LETTERS, places, ends, strict=False)
    }


def _huatuo(row: Row) -> Row:
    options = options_of(row.get("options"))
    made = _made(row, str(row.get("question") or ""), options, row.get("answer_idx"))
    said = row.get("answer")
    if isinstance(said, str) and said.strip() not in ("", made["answer"], made["label"]):
        raise BadRow(
            f"its answer {said.strip()!r:.60} is not its option {made['label']}",
            "an answer that is not its option",
        )
    return made


_ABOUT_AS = {"subject_name": "subject", "topic_name": "topic", "label_rationale": "explanation"}


def _made(row: Row, question: str, options: dict[str, str], label: Any) -> Row:
    question = question.strip()
    if not question:
        raise BadRow("it has no question", "no question")
    letter = label_of(label, options)
    about = {_ABOUT_AS.get(key, key): value for key, value in row.items() if value not in (None, "")}
    return {
        "question": question,
        "options": options,
        "label": letter,
        "answer": options[letter],
        **{key: about[key] for key in ABOUT if key in about},
    }


# ---- files of them


def _read(
    files: Iterator[Row],
    make: Callable[[Row], Row],
    ids: str,
    bad: Bad,
    repeated: Repeated,
    report: Report | None,
    wanted: set[str] | None = None,
) -> Iterator[Row]:
    report = report or Report()
    wrong: list[str] = []
    twice: list[str] = []
    seen_ids: dict[str, str] = {}
    seen: dict[str, str] = {}
    found_sources: set[str] = set()
    for file in files:
        for source, number, row in _rows(Path(file["path"]), str(file.get("source") or "")):
            found_sources.add(source)
            if wanted and source not in wanted:
                continue
            report.read += 1
            named = "" if source == file.get("source") else f"{source}, "
            where = f"{Path(file['path']).name}: {named}row {number}"
            try:
                if isinstance(row, BadRow):
                    raise row
                if not isinstance(row, dict):
                    raise BadRow("it is not a mapping", "no mapping")
                identity = _identity(row, ids, source, number)
                if identity in seen_ids:
                    raise BadRow(
                        f"its id {identity} is that of {seen_ids[identity]}", "an id that came before"
                    )
                made = {"id": identity, "source": source, **make(row)}
            except BadRow as error:
                wrong.append(f"{where}: {error}")
                report.drop(error.kind, f"{where}: {error}")
                continue
            seen_ids[identity] = where
            key = json.dumps([" ".join(made["question"].split()).casefold(), made["options"]])
            if key in seen:
                twice.append(f"{where}: its question is that of {seen[key]}")
                if repeated != "keep":
                    report.drop("a question that came before", twice[-1])
                    continue
            seen.setdefault(key, where)
            report.kept += 1
            yield made
    if twice:
        report.notes["questions that came before"] = len(twice)
    missing = (wanted or set()) - found_sources
    if missing:
        raise StageFailed(
            f"there is no source {', '.join(sorted(missing))}",
            f"the file has {', '.join(sorted(found_sources)) or 'none'}",
        )
    failing = [*(wrong if bad == "fail" else ()), *(twice if repeated == "fail" else ())]
    if failing:
        raise _failure(failing, report.read)


def _failure(wrong: list[str], read: int) -> StageFailed:
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return StageFailed(
        f"{len(wrong)} of {read} rows are no questions: {'; '.join(wrong[:SHOWN])}{more}",
        "mend the file, or give the processor `args: {bad: leave_out, repeated: leave_out}`",
    )


def _identity(row: Row, ids: str, source: str, number: int) -> str:
    if ids == "made":
        return f"{source}:{number}" if source else str(number)
    given = row.get("id")
    if given is None or not str(given).strip():
        raise BadRow("it has no id", "no id")
    return str(given).strip()


def _rows(path: Path, source: str) -> Iterator[tuple[str, int, Any]]:
    """(source, number, row) of a file; a line that is not JSON comes as the BadRow that says so."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StageFailed(f"{path} cannot be read: {error}") from None
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and whole and all(isinstance(value, list) for value in whole.values()):
        for name, items in whole.items():
            yield from ((str(name), number, row) for number, row in enumerate(items, 1))
    elif isinstance(whole, list):
        yield from ((source, number, row) for number, row in enumerate(whole, 1))
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    yield source, number, json.loads(line)
                except ValueError:
                    yield source, number, BadRow("it is not JSON", "not JSON")
