"""From kept answers to the stage's outputs: every answer, the dataset, what was left out and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from residency import files
from residency.endpoint.kept import Kept
from residency.engines.generate import filters, template
from residency.engines.generate.ask import key
from residency.engines.generate.parse import NotJson, parse
from residency.engines.generate.prompt import Messages, NoPrompt, messages
from residency.engines.generate.spec import Spec, identity, rows
from residency.errors import StageFailed
from residency.processing import Report, Row
from residency.rows.formats import BadRow, to_format

SAMPLES, DATASET, REJECTED, REPORT = "samples.jsonl", "dataset.jsonl", "rejected.jsonl", "report.json"


class Finisher:
    """Writes the outputs of one stage, each whole or not at all."""

    def __init__(self, spec: Spec, kept: Kept, folder: Path) -> None:
        self.spec, self.kept, self.folder = spec, kept, folder
        self.filters = filters.load(spec.filters)
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        """Why answers, and rows, were left out."""
        self.tokens: Counter[str] = Counter()
        self.judged: dict[str, list[float]] = {one.name: [] for one in self.filters}
        self.failed: Counter[str] = Counter()
        """Filter → calls that failed."""
        self.first_failure = ""

    def write(self) -> dict[str, Any]:
        """Write all; what report.json says of them.

        Raises:
            StageFailed: No row was left, or a filter failed on every answer that it was shown.
        """
        report = Report()
        with (
            files.atomic(self.folder / SAMPLES) as samples,
            files.atomic(self.folder / DATASET) as dataset,
            files.atomic(self.folder / REJECTED) as rejected,
        ):
            for number, row in rows(self.spec, report):
                self._row(number, row, samples, dataset, rejected)
            self._check()
        for reason, n in report.dropped.items():
            self.reasons[f"the file: {reason}"] += n
        return {
            "rows": self.counts["rows"],
            "samples": self.counts["samples"],
            "kept": self.counts["kept"],
            "dataset_rows": self.counts["dataset"],
            "rejected": dict(self.reasons.most_common()),
            "filters": {name: _summary(values) for name, values in self.judged.items()},
            "prompt_tokens": self.tokens["prompt"],
            "tokens": self.tokens["answer"],
            "not_counted": self.tokens["unknown"],
            "cut_at_max_tokens": self.counts["cut"],
            "empty": self.counts["empty"],
        }

    def _check(self) -> None:
        """Nothing that is no result may look like one."""
        for name, n in self.failed.items():
            if n and not self.judged[name]:
                raise StageFailed(f"the filter {name} failed on all {n} answers: {self.first_failure}")
        if not self.counts["dataset"]:
            why = "; ".join(f"{n} {reason}" for reason, n in self.reasons.most_common(4))
            raise StageFailed(
                f"no row is left for the dataset: {why or 'the dataset holds no rows'}",
                "its answers are in the stage's answers.jsonl: look at them, then at `filters` and `json`",
            )

    def _row(self, number: int, row: Row, samples: IO[str], dataset: IO[str], rejected: IO[str]) -> None:
        self.counts["rows"] += 1
        name = identity(row, number)
        try:
            asked = messages(row, self.spec.prompt)
        except NoPrompt as error:
            self.reasons[f"no prompt: {error}"] += 1
            _line(rejected, {"id": name, "row": number + 1, "reason": f"no prompt: {error}"})
            return
        found = [dict(one) for one in self._answers(number, asked)]
        self._read(found)
        self._judge(row, found)
        left = [one for one in found if not one.get("why")]
        if self.spec.take == "best" and left:
            best = max(left, key=lambda one: sum((one.get("scores") or {}).values()))
            left = [best]
        elif self.spec.take == "first":
            left = left[:1]
        made = 0
        for one in left:
            for line in self._lines(row, name, asked, one):
                _line(dataset, line)
                made += 1
        self.counts["dataset"] += made
        self.counts["kept"] += sum(not one.get("why") for one in found)
        kept_fields = self._fields(row)
        shown = [{k: v for k, v in one.items() if k not in _INTERNAL} for one in found]
        _line(samples, {"id": name, **kept_fields, "prompt": asked, "samples": shown})
        for place, one in enumerate(found):
            if one.get("why"):
                self.reasons[_grouped(str(one["why"]))] += 1
                text = {"text": one["text"]} if "text" in one else {}
                _line(
                    rejected,
                    {"id": name, "row": number + 1, "sample": place, "reason": one["why"], **text},
                )

    def _answers(self, number: int, asked: Messages) -> Iterator[Mapping[str, Any]]:
        for sample in range(self.spec.sampling.n):
            found = self.kept.rows.get(key(number, sample, asked))
            if found is None:
                raise StageFailed(f"the answer {sample + 1} to row {number + 1} is not there")
            yield found

    def _read(self, found: list[dict[str, Any]]) -> None:
        """Count the answers, and read those that are to be JSON."""
        for one in found:
            self.counts["samples"] += 1
            if one.get("too_long"):
                one["why"] = "the prompt does not fit into the model's context"
                continue
            self.tokens["answer"] += one.get("tokens") or 0
            self.tokens["prompt"] += one.get("prompt_tokens") or 0
            self.tokens["unknown"] += one.get("tokens") is None
            self.counts["cut"] += one.get("finish_reason") == "length"
            if not one["text"].strip():
                self.counts["empty"] += 1
                one["why"] = "an empty answer"
            elif self.spec.json:
                try:
                    one["json"] = parse(one["text"], self.spec.json)
                except NotJson as error:
                    one["why"] = str(error)

    def _judge(self, row: Row, found: list[dict[str, Any]]) -> None:
        """Ask each filter of what those before it have kept."""
        for one in self.filters:
            left = [sample for sample in found if not sample.get("why")]
            shown = [{k: v for k, v in sample.items() if k not in _INTERNAL} for sample in left]
            for sample, verdict in zip(left, one.judge(row, shown), strict=True):
                if verdict.failed:
                    self.failed[one.name] += 1
                    self.first_failure = self.first_failure or verdict.why
                elif verdict.score is not None:
                    self.judged[one.name].append(verdict.score)
                    sample.setdefault("scores", {})[one.name] = verdict.score
                if not verdict.kept:
                    sample["why"] = verdict.why

    def _fields(self, row: Row) -> dict[str, Any]:
        """The columns of a row that are kept, less those that the outputs have of their own."""
        if self.spec.keep is not None:
            return {name: row.get(name) for name in self.spec.keep}
        return {name: value for name, value in row.items() if name not in _OWN}

    def _lines(
        self, row: Row, name: str, asked: Messages, one: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        """The rows of the dataset that one answer gives: one, or one for each item of a JSON list."""
        fields = {"id": name, **self._fields(row)}
        if self.spec.output is None:
            talk = {"messages": [*asked, {"role": "assistant", "content": one["text"]}]}
            try:
                yield to_format({**fields, **talk}, self.spec.format)
            except BadRow as error:
                self.reasons[f"not in the format {self.spec.format}: {error}"] += 1
            return
        found = one.get("json")
        for item in found if isinstance(found, list) else [found]:
            values = {**row, "text": one["text"], "json": item}
            try:
                made = {column: template.fill(text, values) for column, text in self.spec.output.items()}
                yield to_format({**fields, **made}, self.spec.format)
            except (template.Absent, BadRow) as error:
                self.reasons[f"no row of the dataset: {error}"] += 1


_OWN = (
    "id",
    "prompt",
    "samples",
    "messages",
    "conversations",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "tools",
)
"""Columns that the outputs have of their own, or that hold what was asked."""
_INTERNAL = ("key", "attempt", "at")
"""What is kept beside an answer for the stage itself."""


def _grouped(reason: str) -> str:
    """A reason without what is peculiar to one answer."""
    for start in ("not JSON", "against the schema"):
        if reason.startswith(start):
            return start
    return reason


def _summary(values: list[float]) -> dict[str, Any]:
    """How often a filter was asked, and what it gave on average."""
    return {"n": len(values), "mean": sum(values) / len(values) if values else None}


def _line(stream: IO[str], row: Mapping[str, Any]) -> None:
    # Half of a character, which a model may write, can only be escaped.
    text = json.dumps(row, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(row, default=str)
    stream.write(text + "\n")
