"""What `plan` and `run` do first: check the recipe, then plan it."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from residency.cli.options import apply_environment
from residency.errors import EXIT_RECIPE
from residency.paths import cache_dir, runs_dir
from residency.plan.build import Selection, build
from residency.plan.check import check
from residency.plan.guard import unseen, with_guard
from residency.plan.hashing import FileHashes
from residency.plan.model import Plan


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    """`--only`, `--from`, `--fresh`."""
    parser.add_argument("--only", metavar="STAGE", help="run this stage alone, on what the others left")
    parser.add_argument(
        "--from", dest="start", metavar="STAGE", help="run this stage and those that depend on it anew"
    )
    parser.add_argument("--fresh", action="store_true", help="reuse nothing; what was made before is kept")


def prepare(arguments: argparse.Namespace) -> Plan | int:
    """The plan of the recipe that the command line names, or an exit code when it is wrong."""
    from residency.recipe.render import render
    from residency.run.rundir import previous_parts
    from residency.run.store import Store

    apply_environment(arguments)
    checked = check(
        Path(arguments.recipe),
        profiles=arguments.profile,
        overrides=arguments.overrides,
        trust=arguments.trust,
    )
    if checked.found.items:
        print(render(checked.found, color=sys.stderr.isatty()), file=sys.stderr)
    if checked.recipe is None or not checked.found.ok:
        return EXIT_RECIPE
    plan = build(
        checked.recipe,
        with_guard(checked.recipe, checked.stages),
        store=Store(runs_dir()),
        previous=partial(previous_parts, runs_dir(), checked.recipe.name),
        hashes=FileHashes(cache_dir() / "hashes.json"),
        selection=Selection(arguments.only, arguments.start, arguments.fresh),
        profiles=arguments.profile,
        overrides=arguments.overrides,
        trust=arguments.trust,
    )
    plan.warnings += unseen(checked.recipe, checked.stages)
    return plan
