"""Options that several verbs share."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from residency.errors import Missing

RUN_HELP = "an id or its beginning, a recipe's name (its latest run), a folder, or `latest`"


def add_recipe_options(parser: argparse.ArgumentParser) -> None:
    """`--profile`, `--set`, `--trust`, `--mirror`."""
    parser.add_argument(
        "--profile",
        action="append",
        default=[],
        metavar="NAME",
        help="lay a profile over the recipe; repeatable",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="a.b=c",
        help="set a parameter or a key (the value is YAML): `x=1`, `params.x=1`, `block.key=1`; repeatable",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="let dotted paths of this package be imported, beside rewards, processors and residency",
    )
    parser.add_argument(
        "--mirror",
        metavar="DIR",
        help="a folder laid out as host/path; nothing is fetched from the network (also RESIDENCY_MIRROR)",
    )


def apply_environment(arguments: argparse.Namespace) -> None:
    """Hand `--mirror` on to everything that is started from here."""
    if getattr(arguments, "mirror", None):
        os.environ["RESIDENCY_MIRROR"] = str(Path(arguments.mirror).expanduser().absolute())
    mirror = os.environ.get("RESIDENCY_MIRROR")
    if mirror and not Path(mirror).is_dir():
        raise Missing(
            f"the mirror {mirror} is not a folder",
            "give the folder that holds files laid out as host/path, with --mirror DIR or RESIDENCY_MIRROR",
        )
