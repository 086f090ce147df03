"""`launch.py serve RECIPE`: start a server, and keep it until Ctrl-C."""

from __future__ import annotations

import argparse
import sys

from residency.cli.options import add_recipe_options
from residency.cli.prepare import prepare
from residency.errors import RecipeInvalid
from residency.plan.model import Plan

KIND = "serve"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="start a server and keep it until Ctrl-C",
        epilog="example: python launch.py serve recipes/serve/retriever.yaml --set port=8001",
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe of kind serve")
    add_recipe_options(parser)
    parser.set_defaults(only=None, start=None, fresh=False)


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is stopped: exit 0 after Ctrl-C."""
    plan = prepare(arguments)
    return plan if isinstance(plan, int) else serve(plan)


def serve(plan: Plan) -> int:
    """Serve what a plan of kind `serve` has.

    Raises:
        RecipeInvalid: the recipe is of another kind.
    """
    if plan.recipe.kind != KIND:
        raise RecipeInvalid(
            f"{plan.recipe.path} is of kind `{plan.recipe.kind}`, and `launch.py serve` takes a server",
            f"`python launch.py {plan.recipe.path}` runs it",
        )
    from residency.paths import runs_dir
    from residency.report.terminal import PlainView
    from residency.run import serving

    def say(text: str) -> None:
        print(text, flush=True)

    command = ["launch.py", *sys.argv[1:]]
    return serving.serve(plan, runs=runs_dir(), view=PlainView(), command=command, say=say)
