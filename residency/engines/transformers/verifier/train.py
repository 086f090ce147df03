"""The command of a `verifier` stage: `python -m residency.engines.transformers.verifier.train stage.yaml`.

Trains with transformers' Trainer, goes on from the last checkpoint in `training/`, measures the
result on the held-out rows as the reward will use it, and puts it into `outputs/model` whole.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines.command import run_stage
from residency.engines.llamafactory.checkpoints import checkpoints
from residency.engines.transformers import weights
from residency.engines.transformers.verifier import measure, rows
from residency.engines.transformers.verifier.engine import LOG, MODEL, PREDICTIONS, REPORT, TRAINING
from residency.errors import RecipeInvalid, StageFailed
from residency.files import write_json
from residency.verifier import checkpoint, classifier

# What transformers would do otherwise: log to every logger that is installed, draw a bar, keep
# every checkpoint. Shares of all steps, so that a short training has a curve and checkpoints too.
DEFAULTS: Mapping[str, Any] = {
    "report_to": "none",
    "disable_tqdm": True,
    "logging_steps": 0.02,
    "save_steps": 0.1,
    "save_total_limit": 2,
}


def main(arguments: list[str]) -> int:
    """Run the stage that the file names; returns the exit code."""
    return run_stage(arguments, train)


def train(stage: Mapping[str, Any], folder: Path) -> None:
    """Train, measure and write the verifier of a stage.

    Args:
        stage: What `engine.prepare` wrote into stage.yaml.
        folder: The stage's folder.

    Raises:
        ResidencyError: a model or data that is not there or cannot be used, arguments that
            transformers refuses, a loss that is no number.
    """
    say("reading the data")
    examples = rows.read([Path(name) for name in stage["dataset"]], stage["columns"])
    if stage["eval_dataset"]:
        held = rows.read([Path(name) for name in stage["eval_dataset"]], stage["columns"])
    else:
        examples, held = rows.hold_out(examples, stage["holdout"], stage["seed"])
    held = rows.once(held)
    warnings = rows.check_parts(examples, held)
    say("loading the model")
    import torch
    import transformers

    torch.set_num_threads(stage["threads"])
    transformers.set_seed(stage["seed"])
    model, tokenizer, limit = _model(stage)
    say(f"{len(examples):,} rows to train on, {len(held):,} held out")
    encoded = [_encoded(tokenizer, stage["template"], row, limit) for row in examples]
    trainer = transformers.Trainer(
        model=model,
        args=_arguments(stage, folder),
        train_dataset=encoded,  # type: ignore[arg-type]  # a list is all that it needs
        eval_dataset=[_encoded(tokenizer, stage["template"], row, limit) for row in held],  # type: ignore[arg-type]
        data_collator=_Padding(model.config.pad_token_id),
        callbacks=[_callback(folder / LOG)],
    )
    before = checkpoints(folder / TRAINING)
    say(f"going on from {before[-1].name}" if before else "training")
    try:
        trainer.train(resume_from_checkpoint=str(before[-1]) if before else None)
    except ValueError as error:
        raise StageFailed(f"the training stopped: {error}") from error
    part = folder / "outputs" / f".{MODEL}.part"
    shutil.rmtree(part, ignore_errors=True)
    trainer.save_model(str(part))
    tokenizer.save_pretrained(part)
    (part / "training_args.bin").unlink(missing_ok=True)
    kept = {"template": stage["template"], "max_length": limit, "threshold": stage["threshold"]}
    write_json(part / checkpoint.SETTINGS, kept)
    steps, total = trainer.state.global_step, trainer.state.max_steps
    del trainer, model
    say(f"measuring on {len(held):,} held-out rows")
    found = measure.measure(part, held, folder / "outputs" / PREDICTIONS, stage)
    warnings += found.warnings
    target = folder / "outputs" / MODEL
    shutil.rmtree(target, ignore_errors=True)
    os.replace(part, target)
    figures = {"steps": steps, "total": total, "rows": len(examples), **found.figures}
    write_json(folder / REPORT, {**figures, "warnings": warnings})
    say(f"done: right on {found.figures['accuracy']:.1%} of {len(held):,} held-out rows")


def _model(stage: Mapping[str, Any]) -> tuple[Any, Any, int]:
    """(the model with a head of two classes, its tokenizer, tokens of a text at most)."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    path = weights.locate(stage["model"])
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path)
        model: Any = AutoModelForSequenceClassification.from_pretrained(
            path,
            num_labels=2,
            id2label=checkpoint.LABELS,
            label2id={name: index for index, name in checkpoint.LABELS.items()},
            dtype=torch.float32,  # small steps are lost in bfloat16 weights; bf16 is for the passes
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError) as error:
        raise RecipeInvalid(
            f"{stage['model']} cannot be made a verifier of: {str(error).splitlines()[0]}",
            "a model that transformers knows as a sequence classifier, with its tokenizer",
        ) from error
    model.config.pad_token_id = classifier.padding(model.config, tokenizer)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(model.config.pad_token_id)
    return model, tokenizer, min(stage["max_length"], classifier.longest(model.config, tokenizer))


def _encoded(tokenizer: Any, template: str, row: rows.Example, limit: int) -> dict[str, Any]:
    try:
        ids = classifier.encode(tokenizer, template, (row.response, row.reference), limit)
    except ValueError as error:
        raise StageFailed(str(error), "raise `max_length`, or leave the row out") from error
    return {"input_ids": ids, "labels": int(row.right)}


def _arguments(stage: Mapping[str, Any], folder: Path) -> Any:
    from transformers import TrainingArguments

    given = {**DEFAULTS, **stage["training"]}
    if stage["cpu"]:
        given = {"use_cpu": True, "dataloader_pin_memory": False, **given}
    try:
        return TrainingArguments(output_dir=str(folder / TRAINING), seed=stage["seed"], **given)
    except (TypeError, ValueError) as error:
        raise RecipeInvalid(f"`training`: {' '.join(str(error).split())}") from error


class _Padding:
    """Rows to one batch, padded on the right to the longest."""

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, batch: list[dict[str, Any]]) -> dict[str, Any]:
        import torch

        width = max(len(row["input_ids"]) for row in batch)
        ids = [row["input_ids"] for row in batch]
        return {
            "input_ids": torch.tensor([one + [self.pad] * (width - len(one)) for one in ids]),
            "attention_mask": torch.tensor([[1] * len(one) + [0] * (width - len(one)) for one in ids]),
            "labels": torch.tensor([row["labels"] for row in batch]),
        }


def _callback(path: Path) -> Any:
    """Appends a row to log.jsonl at each logged step, its clock going on from earlier attempts."""
    import json
    import math
    import time

    from transformers import TrainerCallback

    from residency.files import jsonl_rows

    class Log(TrainerCallback):
        def __init__(self) -> None:
            earlier = jsonl_rows(path.read_text(encoding="utf-8")) if path.is_file() else []
            self.before = max((float(row.get("seconds", 0)) for row in earlier), default=0.0)
            self.started = time.monotonic()

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.started = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            values = {key: value for key, value in (logs or {}).items() if isinstance(value, int | float)}
            if not values or "train_runtime" in values:
                return
            for key, word in (("loss", "loss"), ("grad_norm", "gradient")):
                if not math.isfinite(values.get(key, 0.0)):
                    raise StageFailed(
                        f"the {word} is not a number at step {state.global_step}",
                        "lower training.learning_rate, or use bf16 in place of fp16",
                    )
            spent = self.before + time.monotonic() - self.started
            row = {"step": state.global_step, "total": state.max_steps, **values, "seconds": round(spent, 3)}
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(row) + "\n")

    return Log()


def say(text: str) -> None:
    """One line of the stage's log."""
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
