"""`launch.py RECIPE`: check, plan, run, report."""

from __future__ import annotations

import argparse
import sys

from residency.cli.options import add_recipe_options
from residency.cli.prepare import add_selection_options, prepare


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("run", help="run a recipe")
    parser.add_argument("recipe", metavar="RECIPE")
    add_recipe_options(parser)
    add_selection_options(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="write the files and commands that would be used; run nothing"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines instead of the live view")


def run(arguments: argparse.Namespace) -> int:
    """Run the recipe and write its report."""
    plan = prepare(arguments)
    if isinstance(plan, int):
        return plan
    if plan.recipe.kind == "serve" and not arguments.dry_run:
        from residency.cli.serve import serve

        return serve(plan)
    from residency.paths import runs_dir
    from residency.report.terminal import make_view
    from residency.run.runner import execute

    view = make_view(plain=True if arguments.plain else None)
    result = execute(
        plan, runs=runs_dir(), view=view, command=["launch.py", *sys.argv[1:]], dry_run=arguments.dry_run
    )
    if not arguments.dry_run:
        from residency.report.summary import finish

        print(finish(result.run_dir))
    return result.exit_code
