"""A run that goes on from fine-tuning with reinforcement learning: three evaluations of the same tasks.

The reward is gamed a little: its format part rises to the maximum, its answer part hardly.
"""

from __future__ import annotations

import json
import math
import os
import random
from pathlib import Path
from typing import Any

import yaml
from make_run import ATTACK, DIGEST, PROMPT, TOPICS, dump, lines, make_run, results, samples

from residency.engines.verl.figures import final

REWARDS = [
    {"fn": "rewards.pubmedqa.answer", "name": "answer", "weight": 2.0},
    {"fn": "rewards.format.partial_tags", "name": "format", "weight": 0.8},
    {"fn": "rewards.length.linear", "weight": 0.1},
]
NAMES = ("answer", "format", "length.linear")
VALIDATED = 64


def figures(name: str, values: list[float]) -> dict[str, float]:
    """Mean, standard deviation and quantiles, in the names of metrics.jsonl."""
    ordered = sorted(values)
    mean = math.fsum(values) / len(values)
    last = len(ordered) - 1
    return {
        f"{name}/mean": mean,
        f"{name}/std": math.sqrt(math.fsum((v - mean) ** 2 for v in values) / len(values)),
        **{f"{name}/q{q}": ordered[round(last * q / 100)] for q in (10, 50, 90)},
    }


def scored(draw: random.Random, share: float) -> dict[str, float]:
    """The components of one answer after `share` of the training."""
    return {
        "answer": float(draw.random() < 0.42 + 0.08 * share),
        "format": min(1.0, max(0.0, 0.2 + 0.8 * share + draw.gauss(0, 0.12))),
        "length.linear": -min(1.0, max(0.0, 0.1 + draw.gauss(0, 0.05))),
    }


def total(parts: dict[str, float]) -> float:
    return 2.0 * parts["answer"] + 0.8 * parts["format"] + 0.1 * parts["length.linear"]


def prompt(place: int) -> str:
    title, start, _ = TOPICS[place % len(TOPICS)]
    text = PROMPT.format(title=title, start=start, n=12 + place, filler="")
    return f"system\nThink first, then answer.\nuser\n{text}\nassistant\n"


def answer(parts: dict[str, float], step: int, place: int) -> str:
    said = "yes" if parts["answer"] else "no"
    thought = "The abstract speaks of patients. " * (1 + place % 3 * 4 + step // 40)
    text = f"<reasoning>{thought}</reasoning>\n<answer>{said}</answer>"
    return text + (ATTACK if place == 1 else "")


def curve(steps: int, until: int, flaky: bool = True) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of metrics.jsonl and of rollouts.jsonl."""
    draw = random.Random(5)
    rows: list[dict[str, Any]] = []
    rollouts: list[dict[str, Any]] = []
    for step in range(until + 1):
        share = step / steps
        row: dict[str, Any] = {"step": step, "total": steps, "seconds": round(38.0 * step, 1)}
        if step % 20 == 0:
            found = [scored(draw, share) for _ in range(VALIDATED)]
            row |= {"validation/n": float(VALIDATED), "validation/unavailable": 0.0}
            row |= figures("validation/total", [total(f) for f in found])
            for name in NAMES:
                row |= figures(f"validation/{name}", [f[name] for f in found])
            for place in range(4):
                rollouts.append(
                    {
                        "step": step,
                        "split": "validation",
                        "prompt": prompt(place),
                        "answer": answer(found[place], step, place),
                        "reward": total(found[place]),
                    }
                )
        if step:
            found = [scored(draw, share) for _ in range(32)]
            values = [total(f) for f in found]
            gone = 1 if flaky and step in (13, 14, 60) else 0
            mean = math.fsum(values) / 32
            row |= {
                "reward": mean,
                "reward_std": 0.4,
                "zero_variance_groups": round(draw.random() * 0.3 + 0.3 * share, 2),
                "unavailable": gone / 32,
                "response_length": 60 + 150 * share + draw.gauss(0, 12),
                "response_cut": 0.02,
                "kl": 0.04 * share + abs(draw.gauss(0, 0.002)),
                "policy_kl": abs(draw.gauss(0, 1e-4)),
                "entropy": 1.8 - 1.2 * share + draw.gauss(0, 0.05),
                "clip_fraction": abs(draw.gauss(0.01, 0.004)),
                "grad_norm": 0.8 + abs(draw.gauss(0, 0.2)),
                "learning_rate": 5e-6,
                "tokens_per_second": 1240 + draw.gauss(0, 60),
                "step_seconds": 38 + draw.gauss(0, 2),
                "rewards/unavailable": gone / 32,
            }
            row |= figures("rewards/total", values)
            for name in NAMES:
                row |= figures(f"rewards/{name}", [f[name] for f in found])
            for place in range(4):
                parts: dict[str, float | None] = dict(found[place])
                lost = bool(gone) and place == 0
                rollouts.append(
                    {
                        "step": step,
                        "split": "train",
                        "prompt": prompt(draw.randrange(40)),
                        "answer": answer(found[place], step, place),
                        "reward": None if lost else total(found[place]),
                        "components": parts | ({"answer": None} if lost else {}),
                        "group": None,
                        "unavailable": "answer: TimeoutError: 30 s" if lost else "",
                    }
                )
        rows.append(row)
    return rows, rollouts


def gold() -> dict[str, Any]:
    right = {"answer": 1.0, "format": 1.0, "length.linear": 0.0, "total": 2.8}
    means = {
        "gold": right,
        "wrong_answer": right | {"answer": 0.0, "total": 0.8},
        "missing_tag": right | {"answer": 0.0, "format": 0.0, "total": 0.0},
        "empty": {"answer": 0.0, "format": 0.0, "length.linear": 0.0, "total": 0.0},
        "repeated": right | {"answer": 0.0, "format": None, "total": 0.11},
    }
    return {
        "ok": True,
        "rows": 64,
        "without_gold": 3,
        "maximum": 2.8,
        "cases": {name: 128 if name == "empty" else 64 for name in means},
        "means": means,
        "failures": [],
    }


def make_rlvr(
    root: Path, *, outcome: str = "done", steps: int = 100, questions: int = 100, checked: bool = True
) -> Path:
    """Write one run below `root` and return its folder: `make_run` with two stages more.

    `outcome`: done; killed (in grpo, with half-written lines and a step that a resume did again).
    """
    run_dir = make_run(root, questions=questions)
    run = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    tests = {"human_or_animal": "study_questions_test.jsonl", "case_report": "study_questions_test.jsonl"}
    for name, kind, engine, needs in (
        ("grpo", "rlvr", "verl", ["data", "sft"]),
        ("after_rlvr", "evaluate", "lm_eval", ["data", "grpo"]),
    ):
        if outcome == "killed" and name == "after_rlvr":
            status = "waiting"
        else:
            status = "running" if outcome == "killed" else "done"
        key = f"{kind}-{'0123456789ab' if kind == 'rlvr' else 'ba9876543210'}"
        folder = root / "store" / key
        entry = {"name": name, "kind": kind, "engine": engine, "key": key, "folder": f"store/{key}"}
        entry |= {"needs": needs, "status": status, "reused": False, "reason": "not run before"}
        run["stages"].append(entry | {"seconds": 3800.0 if kind == "rlvr" else 130.0})
        if status == "waiting":
            continue
        (folder / "outputs").mkdir(parents=True)
        state = {
            "status": status,
            "name": name,
            "kind": kind,
            "key": key,
            "engine": engine,
            "seconds": 3800.0,
        }
        state |= {"engine_version": "0.9.1" if kind == "rlvr" else "0.4.13", "attempts": 1, "metrics": {}}
        state |= {"fingerprint": DIGEST, "parts": {}, "started": "2026-03-01T12:12:12Z"}
        config: dict[str, Any] = {"kind": kind, "name": name}
        if kind == "rlvr":
            state |= {"attempts": 2, "resumed_from": "step 50"}
            config |= {"rewards": REWARDS, "gold_check": {} if checked else False, "verl": {"trainer": {}}}
            if not checked:
                config["gold_check"] = False
            rows, rollouts = curve(steps, steps if status == "done" else steps // 2)
            lines(folder / "metrics.jsonl", rows)
            state["metrics"] = final(rows, steps) if status == "done" else {}
            lines(folder / "outputs" / "rollouts.jsonl", rollouts)
            if status != "done":
                with (folder / "outputs" / "rollouts.jsonl").open("a") as stream:
                    again = [r for r in rollouts if r["step"] == steps // 2 and r["split"] == "train"]
                    stream.writelines(json.dumps(r | {"answer": "done again"}) + "\n" for r in again[:1])
                    back = rollouts[-5] | {"step": steps // 2 - 1, "split": "train", "answer": "gone back"}
                    stream.write(json.dumps(back) + '\n{"step": 51, "sp')
            if checked:
                dump(folder / "gold.json", gold())
            counts = {"read": 412, "kept": 400, "dropped": 12, "truncated": 0}
            held = {"read": 64, "kept": 64, "dropped": 0, "truncated": 2}
            dump(folder / "data" / "report.json", {"train": counts, "val": held, "max_prompt_length": 1024})
            stage: dict[str, Any] = {"config": config, "max_prompt_length": 1024, "env": {"X": "1"}}
        else:
            config |= {"model": "rl", "tasks": list(tests), "data": tests}
            stage = config
            answers = [
                row
                for task, right in zip(tests, (0.98, 0.93), strict=True)
                for row in samples(task, questions, right, 1.0, seed=len(task) + 2)
            ]
            dump(folder / "outputs" / "results.json", results("rl", None, answers, limited=False))
            lines(folder / "outputs" / "samples.jsonl", answers)
        (folder / "stage.yaml").write_text(yaml.safe_dump(stage), encoding="utf-8")
        (folder / "log.txt").write_text(f"{name}: started\n", encoding="utf-8")
        dump(folder / "state.json", state)
        link = run_dir / "stages" / name
        link.symlink_to(os.path.relpath(folder, link.parent))
    if outcome == "killed":
        run |= {"status": "running", "ended": None}
    dump(run_dir / "run.json", run)
    return run_dir


if __name__ == "__main__":
    import sys

    print(make_rlvr(Path(sys.argv[1]), outcome=sys.argv[2] if len(sys.argv) > 2 else "done"))
