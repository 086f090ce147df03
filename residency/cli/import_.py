"""`launch.py import llamafactory FILE`, `import verl FILE`: an engine's own file as a recipe that means
the same."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from residency.errors import EXIT_DONE, EXIT_RECIPE, RecipeInvalid
from residency.files import write_text
from residency.paths import PROJECT

SCHEMA = PROJECT / "schemas" / "recipe.schema.json"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "import",
        help="turn an engine's own file into a recipe",
        description="Writes a YAML for `llamafactory-cli train`, or a shell script that starts "
        "`verl.trainer.main_ppo`, as a recipe. A script is read, never run.",
    )
    parser.add_argument("engine", choices=("llamafactory", "verl"), help="whose file it is")
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("-o", "--out", type=Path, metavar="OUT", help="where to write it; default: print it")
    parser.add_argument("--force", action="store_true", help="write over OUT when it is there")


def run(arguments: argparse.Namespace) -> int:
    """Read the file, and print or write the recipe."""
    file, out = arguments.file, arguments.out
    if out is not None and out.exists() and not arguments.force:
        raise RecipeInvalid(f"{out} is there already", "choose another name, or add --force")
    if not file.is_file():
        raise RecipeInvalid(f"{file} is not there")
    made = _from_verl(file, out) if arguments.engine == "verl" else _from_llamafactory(file, out)
    if made is None:
        return EXIT_RECIPE
    if out is None:
        print(made, end="")
        return EXIT_DONE
    write_text(out, made)
    print(f"wrote {out}; `python launch.py check {out}` says whether it is sound")
    return EXIT_DONE


def _from_llamafactory(file: Path, out: Path | None) -> str | None:
    """The recipe of a YAML, or None after its mistakes were printed."""
    from residency.engines.llamafactory.importer import to_recipe
    from residency.recipe.load import load
    from residency.recipe.render import render

    recipe, found = load(file, cwd=Path.cwd())
    if recipe is None or not found.ok:
        print(render(found, color=sys.stderr.isatty()), file=sys.stderr)
        return None
    if not recipe.plain_llamafactory:
        raise RecipeInvalid(f"{file} is a recipe already", f"it has `kind: {recipe.kind}`")
    text = file.read_text(encoding="utf-8-sig")
    return to_recipe(recipe, text, out=out or file, cwd=Path.cwd(), schema=SCHEMA)


def _from_verl(file: Path, out: Path | None) -> str:
    """The recipe of a launch script; what was changed, and what is to be filled in, go to stderr."""
    from residency.engines.verl.importing.importer import to_recipe

    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeInvalid(f"{file} is not UTF-8 text") from error
    made = to_recipe(file, text, out=out or file, cwd=Path.cwd(), schema=SCHEMA)
    for title, items in (("changed", made.notes), ("to fill in", made.todo)):
        if items:
            print(f"{title}:", file=sys.stderr)
            for item in items:
                print(f"  - {item}", file=sys.stderr)
    return made.text
