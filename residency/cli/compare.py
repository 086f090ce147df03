"""`launch.py compare RUN [RUN]`: whether the scores of two runs, or of one run's stages, differ."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from residency.cli.options import RUN_HELP
from residency.errors import EXIT_DONE, EXIT_FAILED

if TYPE_CHECKING:
    from residency.report.between import Between, Compared
    from residency.report.model import RunRecord
    from residency.report.scores import Score


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="say whether the scores of two runs differ",
        epilog="examples: python launch.py compare RUN RUN; compare quickstart (its stages); "
        "compare RUN:before RUN:after",
    )
    help_ = f"{RUN_HELP}; RUN:STAGE for one of its evaluations"
    parser.add_argument("a", metavar="RUN", help=help_)
    parser.add_argument("b", metavar="RUN", nargs="?", help="the other; without it the stages of one run")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print the differences; 4 when nothing could be compared."""
    from residency.paths import runs_dir
    from residency.report import between
    from residency.report.collect import collect
    from residency.run import rundir

    def opened(text: str) -> tuple[RunRecord, str | None]:
        name, _, stage = text.partition(":")
        return collect(rundir.find(runs_dir(), name)), stage or None

    a, stage_a = opened(args.a)
    if args.b is None:
        found = between.within(a)
        names = [a.id]
    else:
        b, stage_b = opened(args.b)
        found = between.between(a, b, stage_a, stage_b)
        names = [a.id, b.id]
    if args.format == "json":
        value = {
            "runs": names,
            "tests": found.tests,
            "correction": "holm",
            "compared": [one.to_json() for one in found.compared],
            "refused": found.refused,
        }
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        print("\n".join(_text(found, names)))
    return EXIT_DONE if found.compared else EXIT_FAILED


def _text(found: Between, names: list[str]) -> Iterator[str]:
    if len(names) == 2:
        yield f"a: {names[0]}"
        yield f"b: {names[1]}"
    for one in found.compared:
        yield ""
        yield from _one(one, found.tests, ("a ", "b ") if len(names) == 2 else ("", ""))
    for refusal in found.refused:
        yield ""
        yield f"warning: {refusal}"
    if found.tests > 1:
        yield ""
        yield f"{found.tests} tests: the p-values in brackets are corrected for that (Holm)."


def _one(one: Compared, tests: int, sides: tuple[str, str]) -> Iterator[str]:
    from residency.report import wording

    found = one.found
    yield f"{found.task}, {found.metric}"
    names = [side + stage for side, stage in zip(sides, (found.before_stage, found.after_stage), strict=True)]
    width = max(map(len, names))
    for name, score in zip(names, (found.before, found.after), strict=True):
        yield f"  {name:<{width}}  {_score(score)}"
    limits = wording.interval(found.low, found.high, signed=True)
    parts = [f"difference {wording.difference(found)}" + (f" [{limits}]" if limits else "")]
    if found.p is not None:
        corrected = f" ({wording.p_value(one.corrected)})" if tests > 1 and one.corrected is not None else ""
        parts.append(wording.p_value(found.p) + corrected)
    verdict = wording.verdict(found) if found.low is None or one.clear else "no clear difference"
    parts.append(verdict)
    if found.gained is not None:
        parts.append(f"{found.gained} became right, {found.lost} became wrong")
    yield f"  {', '.join(parts)}"
    paired = f"{found.n:,} questions in pairs; " if found.n is not None else ""
    yield f"  {paired}{found.method}" + (f"; {found.note}" if found.note else "")
    for warning in one.warnings:
        yield f"  warning: {warning}"


def _score(score: Score) -> str:
    from residency.report import wording

    limits = wording.interval(score.low, score.high)
    n = f"  n = {score.n:,}" if score.n is not None else ""
    unreadable = f"  {score.unreadable:,} unreadable" if score.unreadable else ""
    labels = f"  ({', '.join(score.labels)})" if score.labels else ""
    return f"{wording.value(score)}" + (f"  [{limits}]" if limits else "") + n + unreadable + labels
