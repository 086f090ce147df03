"""The lm-eval engine: files and command of an `evaluate` stage, its progress, what it left."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml

from residency import journal, stats
from residency.endpoint import kept
from residency.endpoint.settings import endpoint
from residency.engines.base import CheckContext, Engine, Job, Launch, Progress, Verified
from residency.engines.lm_eval import (
    arguments,
    failures,
    places,
    prompting,
    questions,
    served_stage,
    taskfiles,
)
from residency.engines.lm_eval import results as result_files
from residency.errors import StageFailed
from residency.files import read_json
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe

CITATIONS = "residency.benchmark.citations.of_task"
"""What scores the PMIDs in a task's answers; the layer above this one has it."""


class LmEval(Engine):
    """lm-evaluation-harness 0.4.13."""

    name = "lm_eval"
    distribution = "lm_eval"

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """Arguments that the launcher sets itself, contradict each other, or run foreign code."""
        arguments.check(recipe, context, found)

    def prepare(self, job: Job) -> Launch:
        """Files: stage.yaml, lm_eval.yaml (in the form of lm-eval's `--config`), tasks/*.yaml."""
        starts = places.roots(job.recipe_folder, job.project)
        names = places.task_names(job.config)
        own = {name: task for name in names if (task := taskfiles.find(job.project, name))}
        data = {k: str(places.place(v, starts)) for k, v in places.data_files(job.config).items()}
        named = job.config.get("model")
        model = places.model(str(named), starts) if named else None
        over = endpoint(job.config)
        adapter = job.config.get("adapter")
        adapter = places.model(str(adapter), starts) if adapter else None
        block = arguments.filled(job.config, model=model, adapter=adapter, tasks=names, gpus=job.gpus)
        asked = {
            name: prompting.keys(job.config, task, starts, job.project)
            for name, task in own.items()
            if task.styled
        }
        block |= prompting.chat(block, asked)
        stage = {"model": model, "adapter": adapter, "tasks": names, "own": sorted(own), "data": data}
        if citing := places.citations(job.config, starts):
            stage["citations"] = {"fn": CITATIONS, "args": citing}
        if over is not None:
            stage |= served_stage.stage(job.config, model)
            stage["model"] = model or over.model or over.shown
        files = {"stage.yaml": _yaml(stage), "lm_eval.yaml": _yaml(block)}
        for name, task in own.items():
            path = data.get(name)
            files[f"tasks/{name}.yaml"] = task.render(
                Path(path) if path else None, asked.get(name), job.config.get("samples")
            )
            for module in (path for path in task.files if path.suffix == ".py"):
                beside = module.relative_to(task.path.parent)
                files[f"tasks/{beside}"] = module.read_text(encoding="utf-8")
        return Launch(
            argv=(*_python(job, block), "-m", "residency.engines.lm_eval.main", "stage.yaml"),
            files=files,
            env=_environment(
                job, block, offline=(not model or Path(model).is_absolute()) and len(own) == len(names)
            ),
            stall_seconds=3600,
        )

    def resume(self, job: Job) -> str | None:
        """Say how many answers are kept; the command finds them itself."""
        for name in ("results.json", "samples.jsonl"):  # of an attempt that did not pass `verify`
            (job.outputs / name).unlink(missing_ok=True)
        (job.folder / "progress.json").unlink(missing_ok=True)
        found = sum(len(row["answers"]) for row in _kept(job.folder))
        found += kept.count(job.folder / served_stage.KEPT)
        return f"{found} answered requests" if found else None

    def progress(self, job: Job) -> Progress:
        """Requests answered, of those of one type (generation, likelihood)."""
        try:
            found = json.loads((job.folder / "progress.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return Progress(unit="request")
        return Progress(
            step=found.get("done"),
            total=found.get("total"),
            unit="request",
            message=found.get("message", ""),
            metrics=found.get("metrics", {}),
        )

    def verify(self, job: Job) -> Verified:
        """Every question answered once, every score finite, and the same as the samples say."""
        results = read_json(job.outputs / "results.json")
        if results is None:
            raise StageFailed("the evaluation ended without outputs/results.json")
        counts, right = _count(job.outputs / "samples.jsonl")
        expected = _expected(job)
        warnings: list[str] = []
        for task, about in results["tasks"].items():
            asked = about["n"]
            if counts[task] != asked:
                raise StageFailed(f"{task}: samples.jsonl has {counts[task]} rows for {asked} questions")
            if task in expected and asked != expected[task]:
                raise StageFailed(f"{task}: {asked} questions were asked of {expected[task]}")
            warnings += result_files.warnings(task, about)
        metrics: dict[str, Any] = {}
        for row in results["scores"]:
            name = f"{row['task']}/{row['metric']}"
            if not math.isfinite(row["value"]):
                raise StageFailed(f"{name} is {row['value']}")
            if row["metric"] == "accuracy" and row["task"] in counts:
                share = stats.mean(right[row["task"]])
                if not math.isclose(share, row["value"], abs_tol=1e-9):
                    raise StageFailed(f"{name} is {row['value']}, by samples.jsonl it is {share}")
            metrics[name] = row["value"]
            if row["unreadable"] and row["metric"] == "accuracy":
                each = results["tasks"].get(row["task"], {}).get("answers_each", 1)
                warnings.append(
                    f"{row['task']}: {row['unreadable']} of {row['n'] * each} answers could not be read"
                )
            if row["note"] and row["note"] not in warnings:
                warnings.append(row["note"])
        if not metrics:
            raise StageFailed("the evaluation left no score")
        outputs = {"results": job.outputs / "results.json", "samples": job.outputs / "samples.jsonl"}
        return Verified(outputs=outputs, metrics=metrics, warnings=tuple(warnings))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """What lm-eval, transformers or the driver meant."""
        return failures.explain(log_tail, gpu=job.gpus > 0)


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def _python(job: Job, block: Mapping[str, Any]) -> tuple[str, ...]:
    if "endpoint" in job.config:
        return (sys.executable,)
    spread = {"parallelize", "tp_plan", "device_map"} & arguments.mapping(block["model_args"]).keys()
    if job.gpus > 1 and block["model"] in arguments.HF_MODELS and not spread:
        # A copy of the model on each GPU, each answering its share of the questions.
        copies = ("--multi_gpu", "--num_processes", str(job.gpus), "--main_process_port", "0")
        return (sys.executable, "-m", "accelerate.commands.launch", *copies)
    return (sys.executable,)


def _environment(job: Job, block: Mapping[str, Any], *, offline: bool) -> dict[str, str]:
    env = {
        "PYTHONPATH": str(job.project),  # task files name functions by dotted path
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(max(1, job.threads)),
        "OMP_WAIT_POLICY": "PASSIVE",
        "LMEVAL_LOG_LEVEL": str(block.get("verbosity") or "WARNING"),
    }
    if offline:
        # Without downloads nothing has a bar worth seeing: progress is written by the command itself.
        env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TQDM_DISABLE": "1"}
    if job.gpus == 0:
        env["CUDA_VISIBLE_DEVICES"] = ""
    return env


def _kept(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("answers-*.jsonl")):
        yield from (row for row in journal.rows(path) if "batch" in row)


def _count(path: Path) -> tuple[Counter[str], dict[str, list[float]]]:
    counts: Counter[str] = Counter()
    right: dict[str, list[float]] = defaultdict(list)
    try:
        with path.open(encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                counts[row["task"]] += 1
                if row["correct"] is not None:
                    right[row["task"]].append(float(row.get("share", row["correct"])))
    except FileNotFoundError:
        raise StageFailed("the evaluation ended without outputs/samples.jsonl") from None
    except (ValueError, KeyError) as error:
        raise StageFailed(f"{path} is damaged: {error}") from None
    return counts, right


def _expected(job: Job) -> dict[str, int]:
    """Task → the questions that had to be asked, for tasks whose rows can be counted here."""
    limit = places.limit(job.config)
    picked = places.block(job.config).get("samples")
    starts = places.roots(job.recipe_folder, job.project)
    expected = {}
    for name, given in places.data_files(job.config).items():
        task = taskfiles.find(job.project, name)
        if task is None or not task.styled:
            continue
        n = sum(1 for _ in questions.read(places.place(given, starts)))
        if isinstance(picked, Mapping) and name in picked:
            n = len(picked[name])
        elif limit:
            n = min(n, math.ceil(n * limit) if limit < 1 else int(limit))
        expected[name] = n
    return expected


class Served(LmEval):
    """lm-evaluation-harness asking a server."""

    exits_as_launcher: ClassVar[bool] = True

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """What the command wrote down; else what its log says."""
        found = read_json(job.folder / "error.json") or {}
        said, hint = (found["message"], found.get("hint")) if found else failures.explain(log_tail)
        answered = kept.count(job.folder / served_stage.KEPT)
        if answered:
            going_on = f"{answered} answers are kept: the same command asks only what is left"
            hint = f"{hint}\n{going_on}" if hint else going_on
        return said, hint


ENGINE = LmEval()
SERVED = Served()
