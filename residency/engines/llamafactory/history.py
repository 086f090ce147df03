"""What LLaMA-Factory logs while it trains: steps, losses, and what it is doing before the first.

It writes trainer_log.jsonl, whose clock starts again at each attempt. Before a new attempt the
rows up to the checkpoint are kept in earlier.jsonl, so that the history of a training that was
interrupted reads like that of one that was not.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from residency.engines import log
from residency.engines.base import Progress
from residency.files import atomic, jsonl_rows

LOG = "trainer_log.jsonl"
EARLIER = "earlier.jsonl"
LATEST = 8 << 10

# LLaMA-Factory's name → ours. What is not listed keeps its name.
RENAMED = {"current_steps": "step", "total_steps": "total", "lr": "learning_rate"}
DROPPED = ("percentage", "elapsed_time", "remaining_time")
COUNTERS = frozenset({"step", "total", "epoch", "seconds"})
SHOWN_APART = frozenset({"step", "total", "seconds"})

# The last of these that the log shows is what it is doing.
PHASES = (
    (re.compile(r"Welcome to LLaMA Factory|Process rank: \d+"), "starting"),
    (re.compile(r"Generating \w+ split|Loading dataset (\S+)"), "reading the data"),
    (
        re.compile(r"Running tokenizer on dataset[^\r\n]*?\| (\d+)/(\d+)"),
        "tokenising: {0} of {1} rows",
    ),
    (re.compile(r"Converting format of dataset[^\r\n]*?\| (\d+)/(\d+)"), "reading the data: {0} of {1} rows"),
    (re.compile(r"loading weights file|Loading weights|Loading checkpoint shards"), "loading the model"),
    (re.compile(r"\*{5} Running training \*{5}"), "training"),
    (re.compile(r"\*{5} Running Evaluation \*{5}"), "evaluating"),
    (re.compile(r"\*{5} Running Prediction \*{5}"), "predicting"),
    (re.compile(r"Training completed\."), "writing the result"),
)
TOTAL = re.compile(r"Total optimization steps = ([\d,]+)")
GRADIENT = re.compile(r"'grad_norm': '?([-+\w.]+)")
BAR = re.compile(r"\| (\d+)/(\d+) \[")


def rows(training: Path, stage: Path) -> list[dict[str, Any]]:
    """The rows for metrics.jsonl, one a step, in order.

    Each has `step`, `total`, `seconds` (of training, over all attempts) and what was logged at
    that step: `loss`, `learning_rate`, `epoch`, `eval_loss`, `reward`, ….
    """
    earlier = _read(stage / EARLIER)
    found = [*earlier, *_logged(training / LOG, earlier)]
    merged: dict[int, dict[str, Any]] = {}
    for row in found:
        merged.setdefault(row["step"], {}).update(row)
    return [row for _, row in sorted(merged.items()) if row.keys() - COUNTERS]


def keep(training: Path, stage: Path, until: int) -> None:
    """Before a new attempt: keep the rows up to the step `until`, and begin a new log."""
    kept = [row for row in rows(training, stage) if row["step"] <= until]
    with atomic(stage / EARLIER) as stream:
        stream.writelines(json.dumps(row) + "\n" for row in kept)
    (training / LOG).unlink(missing_ok=True)


def forget(stage: Path) -> None:
    """Before an attempt from nothing."""
    (stage / EARLIER).unlink(missing_ok=True)


def progress(training: Path, stage: Path) -> Progress:
    """How far the training is, from its log and, between two rows of that, from its progress bar."""
    last = _latest(training, stage)
    tail = log.tail(stage / "log.txt")
    message = phase(tail)
    step, total = last.get("step"), last.get("total")
    total = total or _total(tail)
    if total is not None:
        step = max(step or 0, _bar(tail, total))
    metrics = {k: float(v) for k, v in last.items() if k not in SHOWN_APART and _number(v)}
    if total is None:
        return Progress(message=message)
    gradients = GRADIENT.findall(tail)
    if gradients and not math.isfinite(float(gradients[-1])):
        # The loss that is logged beside it is an average of earlier ones.
        metrics["gradient"] = float(gradients[-1])
    busy = message if message in ("evaluating", "predicting", "writing the result") else ""
    return Progress(step=step, total=total, message=busy, metrics=metrics)


def _latest(training: Path, stage: Path) -> dict[str, Any]:
    """The newest values, from the end of the log alone: it is asked for every second."""
    earlier = jsonl_rows(log.tail(stage / EARLIER, LATEST))
    raw = jsonl_rows(log.tail(training / LOG, LATEST))
    merged = dict(earlier[-1]) if earlier else {}
    for row in _renamed(raw, merged.get("seconds", 0.0)):
        merged.update(row)
    return merged


def phase(text: str) -> str:
    """What a training process is doing, from the end of its log."""
    best: tuple[int, str] = (-1, "starting")
    for pattern, said in PHASES:
        found = list(pattern.finditer(text))
        if found and found[-1].start() > best[0]:
            last = found[-1]
            best = (last.start(), said.format(*(f"{int(g):,}" for g in last.groups() if g and g.isdigit())))
    return best[1]


def _total(text: str) -> int | None:
    """The number of steps that the trainer announced."""
    found = TOTAL.findall(text)
    return int(found[-1].replace(",", "")) if found else None


def _bar(text: str, total: int) -> int:
    """The step that the training's progress bar shows; other bars have another total."""
    start = text.rfind("***** Running training *****")
    steps = [int(a) for a, b in BAR.findall(text[max(0, start) :]) if int(b) == total]
    return steps[-1] if steps else 0


def _logged(path: Path, earlier: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The rows of trainer_log.jsonl in our names, their clock going on from the earlier attempts."""
    raw = _read(path)
    first = min((row.get("current_steps", 0) for row in raw), default=0)
    before = max((row["seconds"] for row in earlier if row["step"] < first), default=0.0)
    return _renamed(raw, before)


def _renamed(raw: list[dict[str, Any]], before: float) -> Iterable[dict[str, Any]]:
    for row in raw:
        made = {RENAMED.get(key, key): value for key, value in row.items() if key not in DROPPED}
        if "step" not in made:
            continue
        made["seconds"] = before + seconds(str(row.get("elapsed_time", "0:00:00")))
        yield made


def seconds(text: str) -> float:
    """`1 day, 2:03:04` in seconds."""
    days, _, clock = text.rpartition(", ")
    total = 0
    for part in clock.split(":"):
        total = total * 60 + int(part or 0)
    return total + 86400.0 * int(days.split(" ")[0] if days else 0)


def _read(path: Path) -> list[dict[str, Any]]:
    """The whole rows of a JSON Lines file; a last one still being written is left out."""
    try:
        return jsonl_rows(path.read_text(encoding="utf-8"))
    except OSError:
        return []


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
