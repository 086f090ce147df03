"""How long it takes to look for 5,000 evaluation rows in 100,000 training rows."""

from __future__ import annotations

import itertools
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import LAUNCH, PROJECT, Result, Unmeasured, once

TRAINING, EVALUATION, PLANTED = 100_000, 5_000, 5
GOAL = 30.0
"""Seconds on two cores."""

_RECIPE = """\
kind: contamination
name: contamination-benchmark
training: {{sft: {train}}}
evaluation: {{test: {test}}}
allow_leak: {{reason: planted}}
"""


def stage() -> Iterator[Result]:
    """The whole stage, Python's start included: 100,000 rows of 230 words against 5,000 of 260."""
    import os

    words, weights = _vocabulary()
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, test = folder / "train.jsonl", folder / "test.jsonl"
        planted = _write(train, test, words, weights, chance)
        (folder / "leaks.yaml").write_text(_RECIPE.format(train=train, test=test), encoding="utf-8")
        env = {**os.environ, "RESIDENCY_RUNS": str(folder / "runs")}
        seconds, _ = once((*LAUNCH, "run", str(folder / "leaks.yaml"), "--plain"), env=env)
        (report,) = (folder / "runs").rglob("store/*/outputs/report.json")
        found = json.loads(report.read_text(encoding="utf-8"))
        leaks = [json.loads(line) for line in report.with_name("leaks.jsonl").open(encoding="utf-8")]
        pairs = {(leak["training"]["row"], leak["evaluation"]["row"]) for leak in leaks}
        if pairs != planted:
            raise Unmeasured(f"found {len(pairs)} pairs, {len(pairs & planted)} of the {PLANTED} planted")
        size = (train.stat().st_size + test.stat().st_size) / 1e6
        note = f"{size:,.0f} MB; comparing {found['seconds']:.1f} s; the {PLANTED} planted found, no other"
        yield Result("100,000 training rows against 5,000 evaluation rows", seconds, goal=GOAL, note=note)
        before = time.perf_counter()
        once((*LAUNCH, "run", str(folder / "leaks.yaml"), "--plain"), env=env)
        yield Result("the same again, reused", time.perf_counter() - before)


def _vocabulary() -> tuple[list[str], list[int]]:
    """Words as often as the docs have them, made many by endings; the frequencies are running sums."""
    text = " ".join(path.read_text(encoding="utf-8") for path in sorted((PROJECT / "docs").glob("*.md")))
    counts = Counter(re.findall(r"[A-Za-z]{2,}", text))
    endings = ("", "s", "ed", "ing", "al", "emia", "itis")
    found = {
        word + ending: max(1, n // (1 + i)) for word, n in counts.items() for i, ending in enumerate(endings)
    }
    return list(found), list(itertools.accumulate(found.values()))


def _write(
    train: Path, test: Path, words: list[str], weights: list[int], chance: random.Random
) -> set[tuple[int, int]]:
    def text(count: int) -> str:
        return " ".join(chance.choices(words, cum_weights=weights, k=count))

    questions = [
        text(16) + "? Answer with <answer>yes</answer> or <answer>no</answer>." for _ in range(EVALUATION)
    ]
    with test.open("w", encoding="utf-8") as stream:
        for number, question in enumerate(questions):
            row = {
                "id": str(number),
                "instruction": question,
                "input": text(235),
                "output": "<answer>no</answer>",
            }
            stream.write(json.dumps(row) + "\n")
    places = dict(
        zip(chance.sample(range(TRAINING), PLANTED), chance.sample(range(EVALUATION), PLANTED), strict=True)
    )
    with train.open("w", encoding="utf-8") as stream:
        for number in range(TRAINING):
            asked = text(16) + "? Answer with <answer>yes</answer> or <answer>no</answer>."
            if number in places:
                asked = questions[places[number]].split("?")[0].upper().replace(" ", ",  ")
            row = {"id": str(number), "instruction": asked, "input": text(200), "output": text(10)}
            stream.write(json.dumps(row) + "\n")
    return {(place + 1, asked_ + 1) for place, asked_ in places.items()}


MEASURES = (stage,)

if __name__ == "__main__":
    for result in stage():
        print(result, file=sys.stdout)
