"""What verl logs of a training: one row a step, over all attempts, in our names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines import log
from residency.engines.base import Progress
from residency.engines.verl import places
from residency.files import jsonl_rows, read_json

# verl's name → ours; only these are taken, and whatever begins with one of TAKEN.
RENAMED = {
    "rewards/total/mean": "reward",
    "rewards/total/std": "reward_std",
    "critic/rewards/mean": "reward_less_kl",  # what is learnt from: with KL in the reward it differs
    "rewards/zero_variance_groups": "zero_variance_groups",
    "rewards/unavailable": "unavailable",
    "response_length/mean": "response_length",
    "response_length/at_limit": "response_cut",  # verl's own clip_ratio is of the batch's longest
    "prompt_length/mean": "prompt_length",
    "actor/pg_loss": "policy_loss",
    "actor/loss": "loss",
    "actor/kl_loss": "kl",
    "actor/reward_kl_penalty": "kl",
    "actor/ppo_kl": "policy_kl",
    "actor/entropy": "entropy",
    "actor/pg_clipfrac": "clip_fraction",
    "actor/grad_norm": "grad_norm",
    "actor/lr": "learning_rate",
    "critic/vf_loss": "value_loss",
    "critic/vf_explained_var": "value_explained",
    "perf/throughput": "tokens_per_second",
    "timing_s/step": "step_seconds",
    "training/epoch": "epoch",
    "num_turns/mean": "turns",
}
TAKEN = ("rewards/", "validation/", "val-core/")
# What the live view shows, most telling first.
SHOWN = (
    "reward",
    "unavailable",
    "zero_variance_groups",
    "response_length",
    "kl",
    "entropy",
    "clip_fraction",
    "tokens_per_second",
)
_PHASES = (
    (re.compile(r"Started a local Ray instance|ray init kwargs"), "starting Ray"),
    (re.compile(r"initialize transfer queue|TransferQueue", re.IGNORECASE), "starting verl's workers"),
    (re.compile(r"actor and ref model engine initialized"), "starting the rollout"),
    (re.compile(r"ready to fit"), "first rollouts"),
)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows for metrics.jsonl in the order of steps; of a step done twice the later holds."""
    found: dict[int, dict[str, Any]] = {}
    before = 0.0
    for path in attempts(folder):
        seconds = before
        for logged in jsonl_rows(_text(path)):
            step, data = logged.get("step"), logged.get("data")
            if not isinstance(step, int) or not isinstance(data, Mapping):
                continue
            row = _row(data)
            seconds += float(data.get("timing_s/step") or 0.0)
            if "timing_s/step" in data:
                # A step that is trained again after a lost checkpoint replaces the earlier one and
                # all that came after it.
                for later in [s for s in found if s >= step]:
                    del found[later]
                found[step] = {"step": step, "seconds": round(seconds, 3), **row}
            elif row:
                found.setdefault(step, {"step": step, "seconds": round(seconds, 3)}).update(row)
        before = seconds
    return [row for _, row in sorted(found.items())]


def attempts(folder: Path) -> list[Path]:
    """verl's log of each attempt, in order."""
    return sorted(
        (folder / places.LOGGED).glob("*.jsonl"), key=lambda p: int(p.stem) if p.stem.isdigit() else 0
    )


def progress(folder: Path, total: int | None) -> Progress:
    """The step, from verl's log; before an attempt's first, what the command is doing."""
    said = read_json(folder / places.PHASE) or {}
    doing = str(said.get("doing") or "starting")
    last = _latest(folder)
    if doing == "training":
        if not _logged_since(folder):
            last = None  # that of an attempt before
        if last is None or last.get("reward") is None:
            text = log.tail(folder / "log.txt")
            doing = next((name for mark, name in reversed(_PHASES) if mark.search(text)), "starting verl")
        else:
            doing = ""
    if last is None:
        return Progress(message=doing)
    metrics = {name: float(last[name]) for name in SHOWN if _number(last.get(name))}
    return Progress(step=int(last["step"]), total=total, message=doing, metrics=metrics)


def validated(folder: Path, step: int) -> bool:
    """True when the answers of that step's policy to the validation's prompts were scored."""
    return any("validation/n" in row for row in rows(folder) if row["step"] == step)


def _logged_since(folder: Path) -> bool:
    """True once this attempt has logged a row: it went to training when its phase was written."""
    newest = next(reversed(attempts(folder)), None)
    if newest is None:
        return False
    if "timing_s/step" not in log.tail(newest, 256 << 10):
        return False
    try:
        return newest.stat().st_mtime_ns >= (folder / places.PHASE).stat().st_mtime_ns
    except OSError:
        return True


def _latest(folder: Path) -> dict[str, Any] | None:
    """The newest row, from the end of the newest log alone: it is asked for every second."""
    for path in reversed(attempts(folder)):
        for logged in reversed(jsonl_rows(log.tail(path, 256 << 10))):
            if isinstance(logged.get("data"), Mapping) and "timing_s/step" in logged["data"]:
                return {"step": logged["step"], **_row(logged["data"])}
    return None


def _row(data: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, value in data.items():
        if not _number(value):
            continue
        if name in RENAMED:
            row[RENAMED[name]] = value
        if name.startswith(TAKEN):
            row[name] = value
    return row


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
