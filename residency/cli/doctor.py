"""`launch.py doctor`: what each engine's environment has, what is wrong, and the command that mends it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from residency.errors import EXIT_DONE, EXIT_MISSING

if TYPE_CHECKING:
    from residency.setup.doctor import Finding

MARKS = {"good": "ok", "absent": "-", "warning": "!", "wrong": "WRONG"}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="say what each engine's environment has, and what is wrong",
        description="Exit 0 when the main environment is fine, 3 otherwise.",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--quick", action="store_true", help="import nothing; a second instead of a minute")


def run(arguments: argparse.Namespace) -> int:
    """Look and tell."""
    from residency.setup import doctor

    report = doctor.look(imports=not arguments.quick)
    if arguments.format == "json":
        print(json.dumps(report.to_json(), indent=2, ensure_ascii=False))
    else:
        parts = {
            "main environment": report.main,
            "engines' own environments": report.engines,
            "machine": report.machine,
        }
        print("\n\n".join("\n".join(_lines(title, findings)) for title, findings in parts.items()))
    return EXIT_DONE if report.fine else EXIT_MISSING


def _lines(title: str, findings: Sequence[Finding]) -> Iterator[str]:
    yield title
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        yield f"  {MARKS[finding.state]:<5}  {finding.name:<{width}}  {finding.said}"
        if finding.mend:
            yield f"  {'':<5}  {'':<{width}}  → {finding.mend}"
