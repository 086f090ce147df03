"""`launch.py rewards test RECIPE`: the gold check of a recipe's rewards; exit 0, or 4 when it fails."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from pathlib import Path

from residency.cli.options import add_recipe_options
from residency.cli.prepare import prepare
from residency.errors import EXIT_DONE, EXIT_FAILED, Missing, RecipeInvalid
from residency.plan.model import Plan, PlannedStage
from residency.rewards.corruptions import GoldRow
from residency.rewards.gold import GoldReport

KIND = "rlvr"


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "rewards",
        help="check that rewards score right answers highest and corrupted ones less",
        epilog="example: python launch.py rewards test recipes/pubmedqa/grpo.yaml --rows 100",
    )
    parser.add_argument("action", choices=("test",), help="what to do")
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a recipe of kind rlvr, or a pipeline with such stages"
    )
    parser.add_argument(
        "--rows", type=int, metavar="N", help="rows to try; default as the recipe says, else 64"
    )
    parser.add_argument("--stage", metavar="NAME", help="of a pipeline: this stage alone")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.set_defaults(only=None, start=None, fresh=False)
    add_recipe_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check the rewards of each rlvr stage; print what was found."""
    if arguments.rows is not None and arguments.rows < 1:
        raise RecipeInvalid(f"--rows {arguments.rows}: at least one row must be tried")
    plan = prepare(arguments)
    if isinstance(plan, int):
        return plan
    reports = {
        stage.name: _check(stage, plan, arguments)
        for stage in _stages(plan, arguments.stage, arguments.recipe)
    }
    if arguments.format == "json":
        print(
            json.dumps(
                {name: report.to_json() for name, report in reports.items()}, ensure_ascii=False, indent=2
            )
        )
    else:
        from residency.rewards.gold_text import text

        print("\n\n".join(text(report, name=f"stage {name}") for name, report in reports.items()))
    return EXIT_DONE if all(report.ok for report in reports.values()) else EXIT_FAILED


def _stages(plan: Plan, asked: str | None, recipe: str) -> list[PlannedStage]:
    """The stages that train with rewards, or the one asked for."""
    found = [stage for stage in plan.stages if stage.kind == KIND]
    names = ", ".join(stage.name for stage in found) or "none"
    if not found:
        raise RecipeInvalid(f"{recipe} trains with no rewards", f"they belong to `kind: {KIND}`")
    if asked is not None:
        found = [stage for stage in found if stage.name == asked]
        if not found:
            raise RecipeInvalid(
                f"--stage {asked}: no stage of that name trains with rewards", f"there are: {names}"
            )
    return found


def _check(stage: PlannedStage, plan: Plan, arguments: argparse.Namespace) -> GoldReport:
    from residency.rewards import gold, spec

    config = stage.job.config
    for component in config["rewards"]:
        for value in (component.get("args") or {}).values():
            if isinstance(value, str) and (maker := _unmade(Path(value), plan)):
                name = component.get("name") or component["fn"]
                raise _not_made(f"takes its reward `{name}`", stage, maker, plan, arguments)
    asked = config.get("gold_check") or {}
    return gold.check(
        spec.components(config),
        _rows(stage, plan, arguments),
        calls=spec.calls(config),
        count=arguments.rows or int(asked.get("rows", gold.ROWS)),
        which=asked.get("corruptions"),
    )


def _rows(stage: PlannedStage, plan: Plan, arguments: argparse.Namespace) -> Iterator[GoldRow]:
    """The rows that the stage trains on."""
    from residency.engines.verl import datasets
    from residency.engines.verl.prompts.rows import rows_of
    from residency.rewards.extra import extra_info
    from residency.rewards.gold import gold_row

    job = stage.job
    sources = datasets.sources(job.config, "dataset", job.recipe_folder, job.project, job.datasets)
    if not sources:
        raise RecipeInvalid(f"stage {stage.name} names nothing to train on", "add `dataset: …`")
    for source in sources:
        if maker := _unmade(source.path, plan):
            raise _not_made(f"takes its rows ({source.name})", stage, maker, plan, arguments)
    for _, row in rows_of(job.config, sources):
        yield gold_row(row, extra_info(row))


def _unmade(path: Path, plan: Plan) -> PlannedStage | None:
    """The stage that has yet to make a file, or None where it is there or nobody's."""
    maker = next((one for one in plan.stages if path.is_relative_to(one.job.outputs)), None)
    return maker if maker is not None and maker.action != "reuse" else None


def _not_made(
    what: str, stage: PlannedStage, maker: PlannedStage, plan: Plan, arguments: argparse.Namespace
) -> Missing:
    """The error for what another stage has yet to make, with the commands that make it."""
    words = ["python", "launch.py", str(arguments.recipe)]
    for option, values in (
        ("--profile", arguments.profile),
        ("--set", arguments.overrides),
        ("--trust", arguments.trust),
    ):
        for value in values:
            words += [option, value]
    wanted = {maker.name}
    for before in reversed(plan.stages):  # they stand in the order in which they run
        if before.name in wanted:
            wanted |= {name for name in before.needs if plan.stage(name).action != "reuse"}
    commands = [shlex.join([*words, "--only", one.name]) for one in plan.stages if one.name in wanted]
    return Missing(
        f"stage {stage.name} {what} from stage {maker.name}, which has not run",
        "make it with " + ", then ".join(f"`{command}`" for command in commands),
    )
