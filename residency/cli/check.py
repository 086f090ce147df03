"""`launch.py check RECIPE…`: every mistake at once; exit 0, or 2 when there is an error."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from residency.cli.options import add_recipe_options, apply_environment
from residency.errors import EXIT_DONE, EXIT_RECIPE
from residency.plan.check import check
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.render import render


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("check", help="report every mistake in recipes, at once")
    parser.add_argument("recipes", nargs="+", metavar="RECIPE", type=Path)
    parser.add_argument("--format", choices=("text", "json"), default="text")
    add_recipe_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check the recipes; print what is wrong on standard output."""
    apply_environment(arguments)
    found = Diagnostics()
    for path in arguments.recipes:
        found.extend(
            check(
                path, profiles=arguments.profile, overrides=arguments.overrides, trust=arguments.trust
            ).found
        )
    if arguments.format == "json":
        print(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
    else:
        print_diagnostics(found, count=len(arguments.recipes))
    return EXIT_DONE if found.ok else EXIT_RECIPE


def print_diagnostics(found: Diagnostics, *, count: int) -> None:
    """The diagnostics as text with snippets, or one line when there are none."""
    if found.items:
        print(render(found, color=sys.stdout.isatty()))
    else:
        print("no mistakes found" if count == 1 else f"no mistakes found in {count} recipes")
