"""What the terminal says at the end of a run: scores before and after, and where the page is."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path

from residency.report import wording
from residency.report.collect import collect
from residency.report.compare import Comparison
from residency.report.model import RunRecord, StageRecord
from residency.report.page.evaluation import SMOKE
from residency.report.rlvr import tenths
from residency.report.scores import Score, number

GAP = "  "


def finish(run_dir: Path, width: int | None = None) -> str:
    """Write the run's page and return what to print at its end.

    The page is a by-product: when it cannot be written the text says so, and nothing is raised.
    """
    from residency.report.html import write_report

    try:
        page: Path | None = write_report(run_dir)
        problem = ""
    except Exception as error:
        page, problem = None, f"the report could not be written: {error}"
    try:
        text = summary_text(collect(run_dir), width, page)
    except Exception as error:
        text = f"the results could not be read: {error}"
    return "\n".join(part for part in (text, problem) if part)


def summary_text(record: RunRecord, width: int | None = None, page: Path | None = None) -> str:
    """The scores of every evaluation, one line each, side by side where the terminal is wide enough.

    Args:
        record: The run.
        width: Columns; as wide as the terminal, 120 at most, when it is not given.
        page: The page to name at the end.
    """
    width = max(20, min(width or shutil.get_terminal_size((100, 24)).columns, 120))
    lines: list[str] = []
    groups: dict[tuple[str, str], list[tuple[StageRecord, Score]]] = {}
    for stage in record.evaluations:
        for score in stage.scores:
            groups.setdefault((score.task, score.metric), []).append((stage, score))
    comparisons = record.comparisons()
    for (task, metric), entries in groups.items():
        lines += ["", f"{task}, {metric}", *_scores(entries, width)]
        for found in comparisons:
            if (found.task, found.metric) == (task, metric):
                lines += _difference(found, width)
    for stage in record.stages:
        if stage.kind == "rlvr" and (said := _reward(stage)):
            lines += ["", *textwrap.wrap(said, width, subsequent_indent="  ")]
    if groups and record.smoke:
        lines += ["", *textwrap.wrap(SMOKE, width)]
    if page is not None:
        cwd = Path.cwd()
        page = page.absolute()
        lines += ["", f"report: {page.relative_to(cwd) if page.is_relative_to(cwd) else page}"]
    return "\n".join(lines).strip("\n")


def _reward(stage: StageRecord) -> str:
    """How the reward of a training went, in one sentence."""
    values = [found for row in stage.curve if (found := number(row.get("reward"))) is not None]
    first, last = tenths(values)
    if first is None or last is None:
        return ""
    steps = wording.plural(len(values), "step")
    said = f"{stage.name}: reward {wording.number(first, 3)} to {wording.number(last, 3)} over {steps}"
    ends = "means of the first and the last tenth" if len(values) >= 20 else "the first and the last step"
    said += f" ({ends}" if len(values) > 1 else " (its mean"
    best = stage.rlvr.gold.maximum if stage.rlvr and stage.rlvr.gold else None
    return said + (f"; a right answer scores {wording.number(best)})" if best is not None else ")")


def _scores(entries: list[tuple[StageRecord, Score]], width: int) -> list[str]:
    cells = [_cells(stage, score) for stage, score in entries]
    sizes = [max(len(row[i]) for row in cells) for i in range(5)]
    lines = []
    for row in cells:
        name, *figures = row[:5]
        joined = GAP.join(
            [f"{name:<{sizes[0]}}", *(f"{f:>{s}}" for f, s in zip(figures, sizes[1:], strict=True))]
        )
        text = f"  {joined}{GAP + row[5] if row[5] else ''}".rstrip()
        if len(text) <= width:
            lines.append(text)
        else:
            rest = ", ".join(part.strip() for part in row[2:] if part.strip())
            lines += [
                f"  {row[0]}  {row[1]}",
                *textwrap.wrap(rest, width, initial_indent="    ", subsequent_indent="    "),
            ]
    return lines


def _cells(stage: StageRecord, score: Score) -> tuple[str, str, str, str, str, str]:
    limits = wording.interval(score.low, score.high)
    unreadable = "" if score.unreadable is None else f"{score.unreadable:,} unreadable"
    return (
        stage.name,
        wording.value(score),
        f"[{limits}]" if limits else "no interval",
        f"n = {score.n:,}" if score.n is not None else "",
        unreadable,
        ", ".join([*score.labels, *([score.note] if score.note else [])]),
    )


def _difference(found: Comparison, width: int) -> list[str]:
    limits = wording.interval(found.low, found.high, signed=True)
    text = f"{found.before_stage} to {found.after_stage}: {wording.difference(found)}"
    if limits:
        text += f" [{limits}]"
    if found.p is not None:
        text += f", {wording.p_value(found.p)}"
    text += f", {wording.verdict(found)}"
    if found.gained is not None:
        text += f"; {found.gained} became right, {found.lost} became wrong"
    text += f" ({found.method}{'; ' + found.note if found.note else ''})"
    return textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
