"""`launch.py plan RECIPE`: what would run, in which order, why, and what it needs."""

from __future__ import annotations

import argparse
import json

from residency.cli.options import add_recipe_options
from residency.cli.prepare import add_selection_options, prepare
from residency.errors import EXIT_DONE


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("plan", help="show what would run, what is reused, and why")
    parser.add_argument("recipe", metavar="RECIPE")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    add_recipe_options(parser)
    add_selection_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    plan = prepare(arguments)
    if isinstance(plan, int):
        return plan
    if arguments.format == "json":
        print(json.dumps(plan.to_json(), ensure_ascii=False, indent=2))
    else:
        from residency.report.plan_text import plan_text

        print(plan_text(plan))
    return EXIT_DONE
