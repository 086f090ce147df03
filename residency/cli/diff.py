"""`launch.py diff RUN RUN`: what two runs differ in, and their figures side by side."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from residency.cli.columns import columns, local
from residency.cli.options import RUN_HELP
from residency.errors import EXIT_DONE

if TYPE_CHECKING:
    from residency.run.history import Comparison, Difference, PastRun

WIDEST = 48
"""Characters of a value that are shown."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "diff",
        help="say what differs between two runs",
        epilog="example: python launch.py diff 20260301-1204 20260302",
    )
    for name in ("a", "b"):
        parser.add_argument(name, metavar="RUN", help=RUN_HELP)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print what differs."""
    from residency.paths import runs_dir
    from residency.run import history, rundir

    a, b = (history.load(rundir.find(runs_dir(), text)) for text in (args.a, args.b))
    found = history.compare(a, b)
    if args.format == "json":
        value = {"a": _about(a), "b": _about(b), **found.to_json()}
        print(json.dumps(value, ensure_ascii=False, indent=2))
    else:
        print("\n".join(_text(a, b, found)))
    return EXIT_DONE


def _about(past: PastRun) -> dict[str, Any]:
    record = past.record
    return {
        "id": record.id,
        "name": record.name,
        "status": record.status,
        "started": record.started,
        "seconds": record.seconds,
        "folder": str(past.folder),
    }


def _text(a: PastRun, b: PastRun, found: Comparison) -> Iterator[str]:
    for mark, past in (("a", a), ("b", b)):
        record = past.record
        yield f"{mark}  {record.name} {record.id}: {record.status}, started {local(record.started)}"
    parts = {
        "recipe": found.recipe,
        "data and models": found.data,
        "functions": found.functions,
        "versions": found.versions,
        "code": found.code,
    }
    for title, differences in parts.items():
        if differences:
            rows = [(title, "a", "b"), *((d.key, _value(d.a), _value(d.b)) for d in differences)]
            yield "\n" + columns(rows)
    same = [title for title, differences in parts.items() if not differences]
    if same:
        yield f"\nthe same in both: {', '.join(same)}"
    if found.metrics:
        yield "\n" + columns([("figure", "a", "b", "change"), *map(_figure, found.metrics)], right=(1, 2, 3))


def _figure(found: Difference) -> tuple[str, str, str, str]:
    from residency.report.wording import number

    change = ""
    if found.a is not None and found.b is not None:
        change = f"{found.b - found.a:+.4g}" if found.a != found.b else "="
    a, b = ("-" if value is None else number(value) for value in (found.a, found.b))
    return found.key, a, b, change


def _value(value: Any) -> str:
    """A value on one line, cut where it is long."""
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
