"""`launch.py plan RECIPE`: what would run, in which order, why, and what it needs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from residency.cli.options import add_recipe_options
from residency.cli.prepare import add_selection_options, prepare
from residency.errors import EXIT_DONE, EXIT_FAILED
from residency.plan.guard import look


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
    compared = dict(look(plan))
    if arguments.format == "json":
        print(json.dumps({**plan.to_json(), "contamination": compared}, ensure_ascii=False, indent=2))
    else:
        from residency.report.plan_text import plan_text

        print(plan_text(plan))
    return _say_leaks(compared)


def _say_leaks(compared: Mapping[str, Mapping[str, Any]]) -> int:
    """Tell of leaks between files that are there already; 4 when the run would stop for one."""
    code = EXIT_DONE
    for name, report in compared.items():
        if not report["leaks"]:
            continue
        refused = report["leaks"] > report["allowed"]
        how = "the run would stop here" if refused else f"allowed ({report['reason']})"
        print(f"\n{'error' if refused else 'warning'}: {name}: {report['said']}; {how}", file=sys.stderr)
        for line in report["first"]:
            print(f"    {line}", file=sys.stderr)
        if refused:
            code = EXIT_FAILED
    return code
