"""The command of an `rlvr` stage: `python -m residency.engines.verl.main stage.yaml`.

In order: the prompts in verl's form, the gold check, verl itself, its last checkpoint merged into
outputs/model. Each leaves its own file, so an attempt goes on where the one before stopped.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.command import run_stage
from residency.engines.verl import checkpoints, cluster, finish, models, places, training
from residency.errors import StageFailed
from residency.files import read_json, write_json


def main(arguments: list[str]) -> int:
    """Run the stage that the file names; returns the exit code."""
    return run_stage(arguments, run)


def run(stage: Mapping[str, Any], folder: Path) -> None:
    """All that the stage does.

    Args:
        stage: What `engine.prepare` wrote into stage.yaml.
        folder: The stage's folder.
    """
    if stage.get("joins"):
        cluster.reach(stage["joins"])
    with training.child(stage, folder) as verl:
        report = read_json(folder / places.DATA / "report.json")
        if report is None:
            from residency.engines.verl import prompts

            verl.start()  # it imports meanwhile
            phase(folder, "reading the prompts")
            report = prompts.write(stage, folder)
            fits(stage, report)
        steps = training.expected_steps(stage, report)
        if not finish.merged(folder, steps):
            check_rewards(stage, folder)
            phase(folder, "training")
            training.train(stage, folder, steps, verl)
            phase(folder, "writing the model")
            finish.merge(stage, folder, steps)
    phase(folder, "done")


def fits(stage: Mapping[str, Any], report: Mapping[str, Any]) -> None:
    """See that the longest prompt and an answer stand within the model's context.

    `check` says it of a model that is on the disk by then; one that an earlier stage makes is not.

    Raises:
        StageFailed: they do not.
    """
    room = models.positions(Path(str(stage["model"])))
    parts = [report[part] for part in ("train", "val") if report.get(part)]
    longest = max((part.get("tokens", {}).get("max", 0) for part in parts), default=0)
    answer = int(stage["max_response_length"])
    if room is not None and longest + answer > room:
        raise StageFailed(
            f"the longest prompt has {longest:,} tokens and an answer may have {answer:,}, and the model's "
            f"context is {room:,}",
            "lower verl.data.max_prompt_length (longer prompts are then dropped or cut, as "
            "`rows.long_prompts` says) or max_response_length, or take a model with a longer context",
        )


def check_rewards(stage: Mapping[str, Any], folder: Path) -> None:
    """The gold check, once: gold answers must score the maximum, corrupted ones less.

    Where the recipe leaves it out, it is only seen that the rewards give scores.

    Raises:
        StageFailed: a gold answer scores too little or a corrupted one as much, with the row; or a reward
            gives no score.
    """
    from residency.engines.verl import gold
    from residency.verifier import classifier

    if stage["config"].get("gold_check") is False:
        if checkpoints.newest(folder / places.CHECKPOINTS) is None:
            phase(folder, "trying the rewards out")
            gold.try_out(stage, folder)
    elif not (folder / places.GOLD).is_file():
        phase(folder, "checking the rewards on gold answers")
        write_json(folder / places.GOLD, gold.check(stage, folder))
    classifier.release()  # the training needs the room


def phase(folder: Path, what: str) -> None:
    """Note what the command is doing, for the live view."""
    print(what, flush=True)
    write_json(folder / places.PHASE, {"doing": what, "pid": os.getpid()})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
