"""What a training left: whether the work was done, and the result as a clean folder."""

from __future__ import annotations

import fnmatch
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines import hf_folder
from residency.engines.base import Job, Verified
from residency.engines.llamafactory import checkpoints, cut, history, places, publish
from residency.errors import StageFailed

# What the trainer writes beside the model; it stays in the training folder.
RECORDS = (
    "checkpoint-*",
    "runs",
    "all_results.json",
    "*_results.json",
    "trainer_state.json",
    "trainer_log.jsonl",
    "training_args.bin",
    "training_*.png",
    "training_args.yaml",
    "generated_predictions.jsonl",
    "profiler",
    ".*",
)
VALUE_HEAD = "value_head.safetensors"


def finished(job: Job) -> bool:
    """True when all that LLaMA-Factory was to do is there and whole."""
    try:
        _look(job)
    except StageFailed:
        return False
    given = places.block(job.config)
    training = job.folder / places.TRAINING
    after = [name for name in ("eval", "predict") if given.get(f"do_{name}")]
    return all((training / f"{name}_results.json").is_file() for name in after)


def verify(job: Job) -> Verified:
    """Check the training and put its result into the stage's outputs.

    Raises:
        StageFailed: it did not reach its last step, its loss is not a number, or the result is not whole.
    """
    training = job.folder / places.TRAINING
    given = places.block(job.config)
    metrics, warnings = _look(job)
    name = "adapter" if places.trains_adapter(job.config) else "model"
    target = job.outputs / name
    cut_rows = cut.of(job)
    if cut_rows is not None:
        metrics["rows_cut"] = cut_rows.cut
        warnings += [text] if (text := cut.warning(cut_rows, job)) else []
    collect(training, target)
    warnings += publish_result(job)
    if "save_steps" not in given and "save_strategy" not in given:
        for path in checkpoints.checkpoints(training):  # ours, kept only to go on from
            shutil.rmtree(path, ignore_errors=True)
    for folder in (job.folder / checkpoints.ASIDE, job.folder / "cache"):
        shutil.rmtree(folder, ignore_errors=True)
    return Verified({name: target}, metrics, tuple(warnings))


def publish_result(job: Job) -> list[str]:
    """Put the result where the recipe's `output_dir` says, if it is not there yet; returns warnings."""
    given = places.block(job.config)
    training = job.folder / places.TRAINING
    if not given.get("output_dir") or not training.is_dir():
        return []
    target = _output_dir(job, given)
    if publish.published(job, target):
        return []
    said = publish.publish(job, training, target, overwrite=bool(given.get("overwrite_output_dir")))
    return [said] if said else []


def _look(job: Job) -> tuple[dict[str, Any], list[str]]:
    """The figures of a finished training and what is odd about it; StageFailed when it is none."""
    training = job.folder / places.TRAINING
    given = places.block(job.config)
    if not training.is_dir():
        raise StageFailed("LLaMA-Factory ended without writing anything", "look into log.txt")
    state_file = training / checkpoints.STATE
    if not state_file.is_file():
        last = checkpoints.checkpoints(training)
        hint = (
            f"it got as far as {last[-1].name}; run the same command to go on"
            if last
            else "look into log.txt"
        )
        raise StageFailed("LLaMA-Factory ended before the training did", hint)
    state = hf_folder.read_json(state_file)
    results = hf_folder.read_json(training / "all_results.json")
    warnings = _steps(state, given)
    logged = history.rows(training, job.folder)
    warnings += _finite(state, logged, results)
    if places.trains_adapter(job.config):
        starts = places.roots(job.config, job.recipe_folder, job.project)
        base = places.absolute(str(given.get("model_name_or_path")), starts)
        # An adapter that is trained further keeps the name of the base it was begun on.
        tensors = hf_folder.check_adapter(training, None if given.get("adapter_name_or_path") else base)
        if given.get("adapter_name_or_path") and given.get("create_new_adapter"):
            warnings.append("the new adapter stands on the base with the earlier adapters merged into it")
        hf_folder.check_tokenizer(training)
    else:
        tensors = hf_folder.check_model(training)
    if given.get("stage") == "rm":
        hf_folder.read_header(training / VALUE_HEAD)
    return _figures(state, results, logged, tensors), warnings


def _steps(state: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    done, total = int(state.get("global_step") or 0), int(state.get("max_steps") or 0)
    asked = given.get("max_steps")
    wanted = asked if isinstance(asked, int) and asked > 0 else total
    if done < 1:
        raise StageFailed(
            "LLaMA-Factory ended without a single training step", "are there rows in the dataset?"
        )
    if done >= wanted:
        return []
    if given.get("early_stopping_steps"):
        return [f"stopped early at step {done:,} of {wanted:,}, as early_stopping_steps says"]
    raise StageFailed(
        f"LLaMA-Factory ended at step {done:,} of {wanted:,}", "run the same command to go on; see log.txt"
    )


def _finite(state: Mapping[str, Any], logged: list[dict[str, Any]], results: Mapping[str, Any]) -> list[str]:
    """A spoilt model fails the stage; an evaluation without a figure is a warning.

    The trainer replaces a loss that is no number by an average, so gradients are looked at too.
    """
    log = [row for row in state.get("log_history") or [] if isinstance(row, dict)]
    seen = (
        ("loss", [row["loss"] for row in log if _number(row.get("loss"))]),
        ("loss", [row["loss"] for row in logged if _number(row.get("loss"))]),
        ("gradient", [row["grad_norm"] for row in log if _number(row.get("grad_norm"))]),
        ("loss", [results[key] for key in ("train_loss",) if _number(results.get(key))]),
    )
    for what, values in seen:
        if values and not math.isfinite(values[-1]):
            if len(values) > 1 and not any(map(math.isfinite, values)):
                raise StageFailed(
                    f"the {what} was not a number from the first step on: the model is spoilt",
                    "the weights that it starts from may hold such values already, or fp16 may not do for "
                    "them: use bf16",
                )
            raise StageFailed(
                f"the {what} is not a number at the end of the training: the model is spoilt",
                "lower llamafactory.learning_rate, or use bf16 in place of fp16",
            )
    if _number(results.get("eval_loss")) and not math.isfinite(results["eval_loss"]):
        return [
            "the loss of the evaluation is not a number, though that of the training is: "
            "llamafactory.cutoff_len may leave nothing of the answers"
        ]
    return []


def _figures(
    state: Mapping[str, Any],
    results: Mapping[str, Any],
    logged: list[dict[str, Any]],
    tensors: Mapping[str, hf_folder.Tensor],
) -> dict[str, Any]:
    """The final figures. The mean loss is taken from the log: the trainer's own leaves out what an
    interrupted attempt did."""
    figures: dict[str, Any] = {"steps": int(state["global_step"]), "epochs": state.get("epoch")}
    losses = [(row["step"], row["loss"]) for row in logged if _number(row.get("loss"))]
    if losses:
        before = 0
        total = 0.0
        for step, loss in losses:  # each is the mean since the one before
            total += loss * (step - before)
            before = step
        figures["train_loss"] = total / before
        figures["first_loss"], figures["last_loss"] = losses[0][1], losses[-1][1]
    elif "train_loss" in results:
        figures["train_loss"] = results["train_loss"]
    for key, value in results.items():
        if key.startswith(("eval_", "predict_")) and _number(value):
            figures[key] = value
    if logged:
        figures["train_seconds"] = logged[-1]["seconds"]
    figures["parameters_saved"] = sum(tensor.size for tensor in tensors.values())
    return figures


def collect(training: Path, target: Path) -> None:
    """Put the files of the model itself into `target`, by hard link where possible.

    `target` appears whole or not at all; one that already holds these very files is left alone.
    """
    wanted = {path.name: path for path in sorted(training.iterdir()) if not _is_record(path.name)}
    if target.is_dir() and _same(wanted, target):
        return
    part = target.parent / f".{target.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for name, path in wanted.items():
        if path.is_dir():
            shutil.copytree(path, part / name, copy_function=checkpoints.link)
        else:
            checkpoints.link(path, part / name)
    publish.swap(part, target)


def _is_record(name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in RECORDS)


def _same(wanted: Mapping[str, Path], target: Path) -> bool:
    there = {path.name: path for path in target.iterdir()}
    return there.keys() == wanted.keys() and all(
        path.is_file() and os.path.samefile(path, there[name]) for name, path in wanted.items()
    )


def _output_dir(job: Job, given: Mapping[str, Any]) -> Path:
    start = places.roots(job.config, job.recipe_folder, job.project)[0]
    return (start / Path(str(given["output_dir"])).expanduser()).absolute()


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
