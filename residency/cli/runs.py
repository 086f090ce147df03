"""`launch.py runs`: the runs, the newest first."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import asdict

from residency.cli.columns import fitted, local
from residency.errors import EXIT_DONE

SHOWN = 20


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "runs",
        help="list the runs",
        epilog="example: python launch.py runs quickstart -n 5",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="runs of this recipe only")
    parser.add_argument("-n", "--number", type=int, default=SHOWN, metavar="N", help="how many; 0 for all")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    """Print the runs."""
    from residency.paths import runs_dir
    from residency.report.wording import duration
    from residency.run.history import PastRun
    from residency.run.rundir import all_runs, folder_name
    from residency.run.state import jsonable

    runs = runs_dir()
    found = [PastRun(folder, record) for folder, record in all_runs(runs)]
    if args.name:
        found = [
            r for r in found if args.name in (r.record.name, r.folder.parent.name, folder_name(r.record.name))
        ]
    shown = found[: args.number] if args.number > 0 else found
    if args.format == "json":
        records = [{**asdict(r.record), "folder": str(r.folder), "headline": r.headline()} for r in shown]
        print(json.dumps(jsonable(records), ensure_ascii=False, indent=2))
        return EXIT_DONE
    if not shown:
        print(f"no runs{f' of {args.name}' if args.name else ''} in {runs}")
        return EXIT_DONE
    rows = [("started", "recipe", "run", "status", "took", "stages", "result")]
    for past in shown:
        record = past.record
        done = sum(stage.status == "done" for stage in record.stages)
        rows.append(
            (
                local(record.started),
                record.name,
                record.id,
                record.status,
                duration(record.seconds) if record.ended else "",
                f"{done}/{len(record.stages)}",
                past.headline(),
            )
        )
    width = shutil.get_terminal_size((80, 24)).columns
    # The id holds the time too, and is what other commands take: it stays whole.
    print(fitted(rows, width, cut={1: 10, 6: 16}, drop=(0, 5, 4, 6), right=(4, 5)))
    if len(shown) < len(found):
        print(f"… and {len(found) - len(shown)} older: -n 0 lists all")
    return EXIT_DONE
