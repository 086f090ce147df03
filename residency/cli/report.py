"""`launch.py report RUN [RUN …] [-o FILE]`: a run's page, or one page of several."""

from __future__ import annotations

import argparse
from pathlib import Path

from residency.cli.options import RUN_HELP
from residency.errors import EXIT_DONE, Missing


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="write a run's page, or one page of several",
        epilog="examples: python launch.py report quickstart -o page.html; report RUN RUN RUN; "
        "report pubmedqa-grpo --all",
    )
    parser.add_argument("runs", metavar="RUN", nargs="+", help=RUN_HELP)
    parser.add_argument(
        "--all",
        action="store_true",
        help="every run of the recipes that RUN names, side by side, the oldest first",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the file to write; report.html in the run's folder, or compared-….html in the runs folder",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from residency.paths import runs_dir
    from residency.report.html import write_report, write_several

    if arguments.all:
        folders = [folder for name in arguments.runs for folder in _all(name)]
    else:
        folders = [_folder(text) for text in arguments.runs]
    if len(folders) == 1 and not arguments.all:
        print(write_report(folders[0], arguments.output))
        return EXIT_DONE
    out = arguments.output or runs_dir() / f"compared-{folders[0].name}-{folders[-1].name}.html"
    print(write_several(folders, out))
    return EXIT_DONE


def _all(name: str) -> list[Path]:
    """The runs of a recipe, the oldest first, without those that ran nothing."""
    from residency.paths import runs_dir
    from residency.run import rundir

    found = []
    for path in (runs_dir() / name).glob("*/run.json"):
        record = rundir.load(path.parent)
        if not path.parent.is_symlink() and record is not None and record.status != "dry-run":
            found.append((record.started, path.parent))
    if not found:
        raise Missing(f"there are no runs of {name}", "`python launch.py runs` lists the runs")
    return [folder for _, folder in sorted(found)]


def _folder(text: str) -> Path:
    """The run's folder. A folder counts as a run even when its run.json is lost."""
    given = Path(text).expanduser()
    if given.is_dir() and ((given / "run.json").is_file() or (given / "stages").is_dir()):
        return given
    from residency.paths import runs_dir
    from residency.run import rundir

    folder: Path = rundir.find(runs_dir(), text)
    return folder
