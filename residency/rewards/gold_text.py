"""What the gold check found, as text for a person."""

from __future__ import annotations

from residency.rewards.gold import GOLD, Failure, GoldReport, shown

OTHERWISE = (
    "where the row's own answer has not the form that is asked for, the recipe writes it: "
    '`rows: {gold: "<answer>{label}</answer>"}`'
)
MOST = 5
"""Failures that are shown of each case."""


def text(report: GoldReport, *, name: str) -> str:
    """A table of each case's mean scores, then the answers that were scored as they must not be."""
    lines = [
        f"{name}: {report.rows} rows tried; a right answer must score {report.maximum:g}, "
        "a corrupted one less"
    ]
    if report.without_gold:
        lines.append(f"{report.without_gold} rows have no gold answer and were passed over")
    lines += ["", *_table(report)]
    shown_of: dict[str, int] = {}
    for failure in report.failures:
        count = shown_of[failure.case] = shown_of.get(failure.case, 0) + 1
        if count <= MOST:
            lines += ["", *_failure(failure)]
    more = {case: count - MOST for case, count in shown_of.items() if count > MOST}
    if more:
        lines += ["", "and " + ", ".join(f"{count} more of {case}" for case, count in more.items())]
    if GOLD in shown_of:
        lines += ["", OTHERWISE]
    failed = len(report.failures)
    answers = "answer is" if failed == 1 else "answers are"
    lines += ["", f"{failed} {answers} scored as they must not be" if failed else "the gold check is passed"]
    return "\n".join(lines)


def _table(report: GoldReport) -> list[str]:
    failed: dict[str, int] = {}
    for failure in report.failures:
        failed[failure.case] = failed.get(failure.case, 0) + 1
    names = list(report.means["gold"])
    rows = [["mean score of", "answers", *names, "failed"]]
    for case, count in report.cases.items():
        means = [report.means[case][name] for name in names]
        figures = ["–" if mean is None else f"{mean:.3f}" for mean in means]
        rows.append([case.replace("_", " "), str(count), *figures, str(failed.get(case, 0))])
    sizes = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.rjust(size) if index else cell.ljust(size) for index, (cell, size) in enumerate(pairs))
        for pairs in (list(zip(row, sizes, strict=True)) for row in rows)
    ]


def _failure(failure: Failure) -> list[str]:
    parts = [
        f"{name} {'–' if score is None else f'{score:g}'}"
        for name, score in failure.scored.components.items()
    ]
    return [
        f"row {failure.index + 1}, {failure.case.replace('_', ' ')}: {failure.message}",
        f"  answer        {shown(failure.answer)}",
        f"  ground truth  {shown(failure.ground_truth)}",
        f"  scores        {', '.join(parts)}",
    ]
