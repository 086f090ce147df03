"""`launch.py report RUN [-o FILE]`: a run's page."""

from __future__ import annotations

import argparse
from pathlib import Path

from residency.cli.options import RUN_HELP
from residency.errors import EXIT_DONE


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="write a run's page",
        epilog="example: python launch.py report quickstart -o page.html",
    )
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="the file to write; report.html in the run's folder"
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from residency.report.html import write_report

    print(write_report(_folder(arguments.run), arguments.output))
    return EXIT_DONE


def _folder(text: str) -> Path:
    """The run's folder. A folder counts as a run even when its run.json is lost."""
    given = Path(text).expanduser()
    if given.is_dir() and ((given / "run.json").is_file() or (given / "stages").is_dir()):
        return given
    from residency.paths import runs_dir
    from residency.run import rundir

    folder: Path = rundir.find(runs_dir(), text)
    return folder
