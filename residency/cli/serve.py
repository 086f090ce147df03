"""`launch.py serve RECIPE|MODEL`: start a server, and keep it until Ctrl-C."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from residency.cli.options import add_recipe_options
from residency.cli.prepare import prepare
from residency.errors import RecipeInvalid
from residency.paths import PROJECT
from residency.plan.model import Plan

KIND = "serve"
MODEL_RECIPE = PROJECT / "recipes" / "serve" / "model.yaml"
"""What a model is served by."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "serve",
        help="start a server and keep it until Ctrl-C",
        epilog="examples: python launch.py serve HuggingFaceTB/SmolLM2-135M-Instruct --engine vllm\n"
        "          python launch.py serve recipes/serve/retriever.yaml --set port=8001",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "recipe",
        metavar="MODEL|RECIPE",
        help="a model's or adapter's folder, a hub name, a run that made one (RUN or RUN:STAGE), "
        "or a recipe of kind serve",
    )
    parser.add_argument(
        "--engine", metavar="NAME", help="of a model: transformers, vllm, sglang, llamafactory"
    )
    parser.add_argument("--port", type=int, metavar="N", help="of a model: where to listen (8000)")
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="of a model: GPUs that it gets (all there are, or none)"
    )
    add_recipe_options(parser)
    parser.set_defaults(only=None, start=None, fresh=False)


def run(arguments: argparse.Namespace) -> int:
    """Serve until it is stopped: exit 0 after Ctrl-C."""
    given = {key: getattr(arguments, key, None) for key in ("engine", "port", "gpus")}
    if not is_recipe(str(arguments.recipe)):
        arguments.overrides = [*of_model(str(arguments.recipe), given), *arguments.overrides]
        arguments.recipe = str(MODEL_RECIPE)
    elif named := [key for key, value in given.items() if value is not None]:
        key = "resources.gpus" if named[0] == "gpus" else named[0]
        raise RecipeInvalid(
            f"--{named[0]} is for a model, and {arguments.recipe} is a recipe",
            f"set its own key: --set {key}={given[named[0]]}",
        )
    plan = prepare(arguments)
    return plan if isinstance(plan, int) else serve(plan)


def is_recipe(text: str) -> bool:
    """Whether a word on the command line names a recipe's file, not a model."""
    return text.endswith((".yaml", ".yml")) or Path(text).expanduser().is_file()


def of_model(text: str, given: dict[str, object]) -> list[str]:
    """`--set` texts for the recipe that serves a model.

    Args:
        text: A folder, a run, or a name on the hub.
        given: `engine`, `port` and `gpus`, where the user said them.

    Raises:
        Missing: a path that is not there, or no model.
    """
    import json

    from residency.cli.models import find
    from residency.plan import machine

    found = find(text)
    if given.get("gpus") is None and (count := machine.gpu_count()):
        given = {**given, "gpus": 1 if given.get("engine") in (None, "transformers") else count}
    sets = {"model": found.model, "adapter": found.adapter, **given}
    return [f"params.{key}={json.dumps(value)}" for key, value in sets.items() if value is not None]


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
