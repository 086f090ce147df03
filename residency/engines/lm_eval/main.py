"""The command of an `evaluate` stage: `python -m residency.engines.lm_eval.main stage.yaml`.

It asks a model through lm-eval's Python API, keeps every finished batch of answers (over an endpoint
every answer), and writes `outputs/samples.jsonl` and `outputs/results.json` at the end, each whole.
Killed and started again it asks only what is not answered yet.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from residency import files
from residency.engines.lm_eval import asking, citing, results, served_stage
from residency.engines.lm_eval.arguments import HF_MODELS
from residency.engines.lm_eval.keep import Keeper, Kept, Request
from residency.engines.lm_eval.prompts import Asked
from residency.errors import EXIT_FAILED, ResidencyError

ERROR = "error.json"
"""What went wrong and what to do, where that is known, below the stage's folder."""

SAY_EVERY = 10.0
"""Seconds between two lines of progress in the log."""

WRITE_EVERY = 0.5
"""Seconds between two writes of progress.json."""


class Watch:
    """Tells how far the evaluation is: a small file for the launcher, a line for the log."""

    def __init__(self, path: Path, quiet: bool = False) -> None:
        self.path, self.quiet = path, quiet
        self.written = self.said = 0.0
        self.started = time.monotonic()
        self.running: dict[str, list[float]] = {}
        """Task → what was right so far, for tasks whose questions can be scored one by one."""
        self.tasks: dict[str, Any] = {}

    def message(self, text: str) -> None:
        """Say what is being done while there is nothing to count."""
        self._write({"message": text})
        if not self.quiet:
            print(text, flush=True)

    def batch(self, done: int, total: int, requests: Sequence[Request], answers: Sequence[Any]) -> None:
        """Count a finished batch, and score what can be scored already; an empty one is only told."""
        for request, answer in zip(requests, answers, strict=True):
            task = self.tasks.get(str(request.task_name))
            if task is not None and isinstance(answer, str):
                right = task.process_results(request.doc, [answer]).get("accuracy")
                if right is not None:
                    self.running.setdefault(str(request.task_name), []).append(float(right))
        now = time.monotonic()
        told = done == total or not requests
        if told or now - self.written >= WRITE_EVERY:
            self.written = now
            metrics = {f"{task}/accuracy": sum(v) / len(v) for task, v in self.running.items()}
            self._write({"done": done, "total": total, "metrics": metrics})
        if not self.quiet and (told or now - self.said >= SAY_EVERY):
            self.said = now
            so_far = "".join(
                f", {task} {sum(v):.0f} of {len(v)} right so far" for task, v in self.running.items()
            )
            print(f"{done} of {total} requests, {now - self.started:.0f} s{so_far}", flush=True)

    def _write(self, value: Mapping[str, Any]) -> None:
        if not self.quiet:
            # Read once a second while it is written: replaced, never half there; it need not
            # outlive a crash of the machine, so it is not synced.
            beside = self.path.with_suffix(".part")
            beside.write_text(json.dumps(value), encoding="utf-8")
            os.replace(beside, self.path)


def evaluate(stage: Mapping[str, Any], folder: Path) -> None:
    """Do what stage.yaml says, in the stage's folder.

    Args:
        stage: `tasks`, `own` (those of the tasks that lie in `tasks/`), `model` and `adapter` as
            the recipe names them. lm-eval's own arguments stand in `lm_eval.yaml` beside it, in
            the form of its `--config`.
        folder: The stage's folder.
    """
    rank = int(os.environ.get("RANK", "0"))
    watch = Watch(folder / "progress.json", quiet=rank != 0)
    watch.message("loading lm-eval")
    import lm_eval
    from lm_eval.config.evaluate_config import EvaluatorConfig
    from lm_eval.tasks import TaskManager

    config = EvaluatorConfig.from_config(folder / "lm_eval.yaml")
    _seed(config.seed)
    watch.message("reading the questions")
    others = [task for task in stage["tasks"] if task not in stage["own"]]
    manager = TaskManager(
        include_path=str(folder / "tasks"),
        include_defaults=bool(others),  # reading lm-eval's 13,000 task files takes 9 s
        metadata={**config.metadata, "chat": bool(config.apply_chat_template)},
    )
    loaded = manager.load(list(stage["tasks"]))
    _configure(loaded["tasks"], config)
    asking.attach(loaded["tasks"])

    seed = (config.seed or [None] * 4)[2] if _sampled(loaded["tasks"]) else None
    expected = sum(_requests(task, config) for task in loaded["tasks"].values())
    keeper = None
    if stage.get("endpoint"):
        watch.message("looking for the server")
        lm, engine = served_stage.open_model(stage, folder, seed=seed, expected=expected, report=watch.batch)
        if lm.kept.rows:
            print(f"going on: {len(lm.kept.rows)} answers were kept", flush=True)
    else:
        watch.message("loading the model")
        lm, engine = _model(config), _in_process(config)
        keeper = _keeper(stage, folder, config, lm, rank, seed=seed, expected=expected, report=watch.batch)
        keeper.attach(lm)
    asked = Asked()
    asked.attach(lm)
    asking.attach_second(
        lm, loaded["tasks"], chat=bool(config.apply_chat_template), system=config.system_instruction
    )
    watch.tasks = {
        name: task
        for name, task in loaded["tasks"].items()
        if task.config.output_type == "generate_until"
        and not task.config.filter_list
        and asking.steps(task) == 1  # reasoning is no answer yet
    }
    found = lm_eval.evaluate(
        lm=lm,
        task_dict=loaded,
        limit=config.limit,
        samples=config.samples or None,
        bootstrap_iters=0,
        write_out=config.write_out,
        log_samples=True,
        system_instruction=config.system_instruction,
        apply_chat_template=config.apply_chat_template,
        fewshot_as_multiturn=bool(config.fewshot_as_multiturn),
        confirm_run_unsafe_code=config.confirm_run_unsafe_code,
    )
    answerer = keeper or lm
    answerer.kept.close()
    too_long = answerer.too_long
    if lm.world_size > 1:
        too_long = set().union(*(lm.gather_object(too_long, dst=0) or ()))
    if found is not None and rank == 0:
        counts = {"too_long": too_long}
        if keeper is None:
            counts |= {"refused": lm.refused}
        write(
            stage,
            folder,
            loaded["tasks"],
            found,
            counts,
            asked=asked,
            engine=engine,
            limit=config.limit or config.samples,
            system=config.system_instruction,
        )


def _keeper(
    stage: Mapping[str, Any],
    folder: Path,
    config: Any,
    lm: Any,
    rank: int,
    *,
    seed: int | None,
    expected: int,
    report: Any,
) -> Keeper:
    """What keeps the answers of a model in this process."""
    purpose = files.sha256_value([dict(stage), (folder / "lm_eval.yaml").read_text(encoding="utf-8")])
    kept = Kept(folder / f"answers-{rank}.jsonl", purpose)
    if kept.batches:
        print(f"going on: {len(kept.batches)} batches were answered before", flush=True)
    automatic = str(config.batch_size).startswith("auto")
    return Keeper(
        kept,
        batch_size=None if automatic else _batch(config, lm),
        most=config.max_batch_size or 64,
        seed=seed,
        expected=expected // lm.world_size,
        report=report,
    )


def _requests(task: Any, config: Any) -> int:
    """How many requests a task will make: one a question, or one a choice."""
    from lm_eval.evaluator_utils import get_sample_size

    docs = task.eval_docs
    n = min(len(docs), get_sample_size(task, config.limit) or len(docs))
    if config.samples:
        n = len(config.samples.get(task.config.task, range(n)))
    choices = len(task.doc_to_choice(docs[0])) if task.OUTPUT_TYPE == "multiple_choice" else 1
    return n * choices * int(task.config.repeats or 1) * asking.steps(task)


def _batch(config: Any, lm: Any) -> int:
    size = int(config.batch_size or 1)
    # Servers and engines that batch by themselves want much at once.
    return size if hasattr(lm, "batch_size_per_gpu") else max(size, 256)


def _seed(seeds: Sequence[int | None] | None) -> None:
    """Seed Python, numpy and torch as lm-eval does."""
    import random

    import numpy
    from lm_eval.utils import set_torch_seed

    for seed, plant in zip(seeds or (), (random.seed, numpy.random.seed, set_torch_seed), strict=False):
        if seed is not None:
            plant(seed)


def _configure(tasks: Mapping[str, Any], config: Any) -> None:
    """Lay the arguments over the tasks' own settings, with lm-eval's own rules."""
    for name, task in tasks.items():
        if config.gen_kwargs and task.get_config("output_type") == "generate_until":
            task.set_config(key="generation_kwargs", value=dict(config.gen_kwargs), update=True)
        own = task.get_config("num_fewshot")
        if config.num_fewshot is None:
            if own is None:
                task.set_config(key="num_fewshot", value=0)
        elif own == 0:
            print(f"{name} allows no examples in its prompt; num_fewshot is left out", flush=True)
        else:
            task.set_config(key="num_fewshot", value=config.num_fewshot)
        task.set_fewshot_seed(seed=config.seed[3] if config.seed else None)


def _sampled(tasks: Mapping[str, Any]) -> bool:
    for task in tasks.values():
        given = task.get_config("generation_kwargs") or {}
        if given.get("do_sample") or float(given.get("temperature") or 0) > 0:
            return True
    return False


def _model(config: Any) -> Any:
    from lm_eval.api.registry import get_model

    return get_model(config.model).create_from_arg_obj(
        config.model_args,
        {
            "batch_size": config.batch_size,
            "max_batch_size": config.max_batch_size,
            "device": config.device,
        },
    )


def _in_process(config: Any) -> dict[str, Any]:
    """What results.json says of a model in this process."""
    import importlib.metadata

    name = "transformers" if config.model in HF_MODELS else str(config.model)
    try:
        version: str | None = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        version = None
    about = {"name": name, "version": version, "device": config.device}
    dtype = dict(config.model_args or {}).get("dtype")
    return about | ({"dtype": str(dtype)} if dtype else {})


def write(
    stage: Mapping[str, Any],
    folder: Path,
    tasks: Mapping[str, Any],
    found: Mapping[str, Any],
    counts: Mapping[str, set[tuple[str, int]]],
    *,
    asked: Asked,
    engine: Mapping[str, Any],
    limit: Any,
    system: str | None = None,
) -> None:
    """Write samples.jsonl, then results.json: with the second there, both are whole.

    Args:
        stage: stage.yaml.
        folder: The stage's folder.
        tasks: Name → lm-eval's task.
        found: What lm-eval returned.
        counts: `too_long`, `refused`: (task, number) of each such question.
        asked: The messages of the prompts.
        engine: What answered.
        limit: The limit or the picked samples, if there was one.
    """
    rows: list[dict[str, Any]] = []
    figures: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    limited: dict[str, bool] = {}
    for name, samples in found["samples"].items():
        sizes = found["n-samples"][name]
        limited[name] = bool(limit) and sizes["effective"] < sizes["original"]
        rows += results.samples(name, samples, asked.shown)
        figures += results.scores(name, samples, tasks[name].aggregation(), limited=limited[name])
        about[name] = results.details(
            samples,
            {kind: sum(t == name for t, _ in on) for kind, on in counts.items()},
            limited=limited[name],
        )
        about[name] |= {"rows": sizes["original"]} | asking.about(tasks[name], samples, system)
        if not asking.ours(tasks[name]):
            about[name]["prompt_hash"] = asked.hash(samples)
        if stage.get("citations"):
            cited = citing.scores(stage["citations"], name, samples, limited=limited[name])
            figures += cited.figures
            about[name]["citations"] = cited.problems
        for warning in results.warnings(name, about[name]):
            print(f"warning: {warning}", flush=True)
    figures += results.group_scores(
        found.get("groups", {}), found["group_subtasks"], found["samples"], limited=any(limited.values())
    )
    with files.atomic(folder / "outputs" / "samples.jsonl") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    import lm_eval

    files.write_json(
        folder / "outputs" / "results.json",
        {
            "model": stage["model"],
            "adapter": stage.get("adapter"),
            "scores": figures,
            "tasks": about,
            "lm_eval_version": lm_eval.__version__,
            "engine": dict(engine),
        },
    )
    for row in figures:
        if row["low"] is not None:
            print(
                f"{row['task']} {row['metric']}: {row['value']:.4f} "
                f"(95 % {row['low']:.4f} to {row['high']:.4f}, n={row['n']})",
                flush=True,
            )


def main(argv: Sequence[str]) -> int:
    """Run the stage described by the file that is the one argument; 0 when it was done."""
    if len(argv) != 1:
        print("usage: python -m residency.engines.lm_eval.main stage.yaml", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.WARNING)
    # Said to each user of a `custom_dataset`, and of use to none of ours.
    logging.getLogger("lm_eval.api.task").addFilter(
        lambda row: "Custom kwargs can be" not in row.getMessage()
    )
    path = Path(argv[0]).absolute()
    stage = yaml.safe_load(path.read_text(encoding="utf-8"))
    (path.parent / ERROR).unlink(missing_ok=True)
    try:
        evaluate(stage, path.parent)
    except ResidencyError as error:
        print(f"error: {error.message}", flush=True)
        if error.hint:
            print(f"  {error.hint}", flush=True)
        files.write_json(path.parent / ERROR, {"message": error.message, "hint": error.hint})
        return error.exit_code
    except Exception as error:
        logging.getLogger(__name__).exception("the evaluation failed")
        print(f"error: {type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        return EXIT_FAILED if stage.get("endpoint") else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
