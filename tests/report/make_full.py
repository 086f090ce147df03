"""A run with all that a page can show: `make_rlvr` with a comparison for leaks, services, two readings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from make_rlvr import make_rlvr
from make_run import dump, lines

from residency.engines.contamination import main

QUESTION = "Were the subjects of this study of pacing thresholds in the canine ventricle human or animal?"
REASON = "the published training set holds them"


def make_full(root: Path, *, allowed: bool = True) -> Path:
    """Write the run below `root` and return its folder; the leak is allowed, or it stopped the run."""
    run_dir = make_rlvr(root)
    run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    folder = root / "store" / "contamination-00112233"
    leaks(root, folder, allowed)
    entry = {"name": "contamination", "kind": "contamination", "engine": "contamination", "needs": ["data"]}
    entry |= {"key": folder.name, "folder": f"store/{folder.name}", "status": "done" if allowed else "failed"}
    entry |= {"reused": False, "reason": "not run before", "seconds": 3.1}
    place = next(i for i, stage in enumerate(run["stages"]) if stage["name"] == "sft")
    run["stages"].insert(place, entry)
    state = {"status": entry["status"], "name": "contamination", "kind": "contamination", "attempts": 1}
    dump(folder / "state.json", {**state, "seconds": 3.1, "peak_memory": 412 << 20, "gpus": 0})
    (run_dir / "stages" / "contamination").symlink_to(folder)
    run["services"] = [
        {"name": "retriever", "engine": "retriever", "status": "stopped", "restarts": 1, "used_by": ["grpo"]},
        {
            "name": "judge",
            "url": "http://localhost:9",
            "status": "ready",
            "restarts": 0,
            "used_by": ["after_rlvr"],
        },
    ]
    dump(run_dir / "run.json", run)
    for name in ("before", "after", "after_rlvr"):
        two_readings(run_dir / "stages" / name)
    for name, peak, gpus in (("sft", 7 << 30, 1), ("grpo", 11 << 30, 4)):
        path = run_dir / "stages" / name / "state.json"
        dump(path, {**json.loads(path.read_text()), "peak_memory": peak, "gpus": gpus})
    return run_dir


def leaks(root: Path, folder: Path, allowed: bool) -> None:
    """A real comparison of two small files, one question of which is in both."""
    outputs = folder / "outputs"
    outputs.mkdir(parents=True)
    train, test = root / "train.jsonl", root / "test.jsonl"
    lines(train, [{"instruction": "What is asthma?", "output": "-"}, {"text": QUESTION.upper()}])
    lines(test, [{"id": "q1", "instruction": QUESTION, "output": "<answer>no</answer>"}])
    stage: dict[str, Any] = {
        "training": {"sft, grpo": [str(train)]},
        "evaluation": {"before/human_or_animal, after/human_or_animal": [str(test)]},
        "not_compared": ["after: the task hellaswag, which brings its own questions"],
    }
    if allowed:
        stage["allow_leak"] = {"reason": REASON}
    main.run(stage, outputs)


def two_readings(folder: Path) -> None:
    """Lenient readings beside the strict ones: what was not readable is read as the wanted answer."""
    path = folder / "outputs" / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row["correct_lenient"] = row["correct"] or row["unreadable"]
        row["extracted_lenient"] = row["target"] if row["correct_lenient"] else row["extracted"]
    lines(path, rows)
    path = folder / "outputs" / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    for score in list(results["scores"]):
        mine = [row for row in rows if row["task"] == score["task"]]
        value = sum(row["correct_lenient"] for row in mine) / len(mine)
        more = {
            "metric": "accuracy_lenient",
            "value": value,
            "low": value - 0.05,
            "high": value,
            "unreadable": 0,
        }
        results["scores"].append({**score, **more})
    results["tasks"] = {s["task"]: {"version": 1, "prompt_hash": "5f2e" * 16} for s in results["scores"]}
    dump(path, results)
