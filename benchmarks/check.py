"""`launch.py check`: how soon a recipe is checked, and a typo found."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import LAUNCH, PROJECT, Result, environment, middle, once, times

GOAL = 0.25
"""Seconds in which `check` answers."""

TYPO = """\
model_name_or_path: HuggingFaceTB/SmolLM2-135M-Instruct
stage: sft
do_train: true
finetuning_type: lora
dataset: identity
template: default
learning_rat: 1.0e-4
output_dir: {folder}/out
"""


def quickstart() -> Iterator[Result]:
    """A new process that checks the quickstart; Python's own start is part of it."""
    bare = middle(times((sys.executable, "-c", "pass"), 9))
    recipe = PROJECT / "recipes" / "quickstart.yaml"
    seconds = times((*LAUNCH, "check", str(recipe)), 9)
    note = f"Python's start alone {bare:.3f} s"
    yield Result("check of the quickstart", middle(seconds), runs=len(seconds), goal=GOAL, note=note)


def typo() -> Iterator[Result]:
    """The same misspelt key in a LLaMA-Factory YAML: found by `check`, rejected by LLaMA-Factory."""
    from residency.engines.llamafactory.command import STANDIN

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "typo.yaml"
        path.write_text(TYPO.format(folder=folder), encoding="utf-8")
        check = (*LAUNCH, "check", str(path))
        _, said = once(check, codes=(2,))
        assert "learning_rate" in said, "the check must say what was meant"
        ours = times(check, 5, codes=(2,))
        engine = (sys.executable, "-m", "llamafactory.cli", "train", str(path))
        env = environment(PYTHONPATH=str(STANDIN))
        _, said = once(engine, codes=(1,), env=env)
        assert "learning_rat" in said, "it must be the typo that is rejected"
        theirs = times(engine, 2, codes=(1,), env=env)
    yield Result(
        "check of a LLaMA-Factory YAML with a typo",
        middle(ours),
        runs=len(ours),
        goal=GOAL,
        against=f"llamafactory-cli train, which rejects it in {middle(theirs):.1f} s",
        ratio=middle(theirs) / middle(ours),
    )


def pipeline_text(lines: int) -> str:
    """A pipeline of so many lines at least: stages that train, each on the model of the one before."""
    text = ["kind: pipeline", "name: long", "params:", "  model: {default: org/some-model}", "stages:"]
    number = 0
    while len(text) < lines:
        before = f"${{stages.s{number - 1}.outputs.model}}" if number else "${params.model}"
        text += [
            f"  s{number}:",
            "    kind: export",
            f"    model: {before}",
            "    # what this stage is for, as a person would note it",
            "    dtype: bfloat16",
            "    resources:",
            "      cpus: 2",
            "    env:",
            f"      STAGE_NUMBER: '{number}'",
            "      TOKENIZERS_PARALLELISM: 'false'",
        ]
        number += 1
    return "\n".join(text) + "\n"


def long_pipeline() -> Iterator[Result]:
    """A generated pipeline of 1,000 lines."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "long.yaml"
        text = pipeline_text(1000)
        path.write_text(text, encoding="utf-8")
        seconds = times((*LAUNCH, "check", str(path)), 5)
    title = f"check of a pipeline of {text.count(chr(10)):,} lines, {text.count('kind: export')} stages"
    yield Result(title, middle(seconds), runs=len(seconds))


MEASURES = (quickstart, typo, long_pipeline)
