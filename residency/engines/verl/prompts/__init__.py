"""Writes the prompts that verl trains and validates on, from the recipe's datasets.

`data/train.parquet` and `data/val.parquet` hold a row a question in verl's form: `prompt` (the
messages), `data_source`, `reward_model` (`style`, `ground_truth`) and `extra_info`.
`data/report.json` says what became of the rows. Prompts that are too long are dealt with here, as
`rows.long_prompts` says, since verl would cut them within the template or drop them unsaid.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from residency.engines.verl import datasets, places, tools, tree
from residency.engines.verl.prompts.files import ParquetRows
from residency.engines.verl.prompts.length import Measure
from residency.engines.verl.prompts.report import Count, said
from residency.engines.verl.prompts.rows import BATCH, Fit, batches, rows_of
from residency.engines.verl.tool_schemas import schemas
from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.files import write_json
from residency.rewards.datasets import Source

TRAIN, VAL, REPORT = places.TRAIN, places.VALIDATION, f"{places.DATA}/report.json"


def write(stage: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write the three files of a stage; the same inputs give the same bytes.

    Args:
        stage: What the engine wrote into stage.yaml.
        folder: The stage's folder.

    Returns:
        What data/report.json holds. `train` and `val` each say `read`, `kept`, `dropped` and
        `truncated`; `val` is None where the recipe names nothing to validate on.

    Raises:
        Missing, RecipeInvalid, StageFailed: A file or the tokenizer is not there, a row cannot be
            used, no row is left, or fewer than one step takes.
    """
    config: Mapping[str, Any] = stage["config"]
    flat = tree.values(config.get("verl") or {})
    starts = Path(stage["recipe_folder"]), Path(stage["project"])
    train, val = (
        datasets.sources(config, key, *starts, stage["datasets"]) for key in ("dataset", "eval_dataset")
    )
    if not train:
        raise RecipeInvalid("the recipe names nothing to train on", "add `dataset: …`")
    batch = max(int(stage["batch"]), int(flat.get("data.gen_batch_size") or 1))
    # This process starts no other while it counts, so all cores may count.
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    try:
        measure = Measure(
            load_tokenizer(flat, str(stage["model"]), places.roots(*starts)),
            tools=schemas(tools.paths(config)),
            template=tree.nest(flat).get("data", {}).get("apply_chat_template_kwargs"),
        )
        limit = int(stage["max_prompt_length"])
        report = write_files(config, train, val, folder, measure, max_prompt_length=limit, batch=batch)
    finally:
        if before is None:
            del os.environ["TOKENIZERS_PARALLELISM"]
        else:
            os.environ["TOKENIZERS_PARALLELISM"] = before
    for line in said(report):
        print(line, flush=True)
    return report


def load_tokenizer(flat: Mapping[str, Any], model: str, starts: tuple[Path, ...]) -> Any:
    """The policy's tokenizer, with the chat template that verl will give it.

    Args:
        flat: The recipe's `verl:` block, one entry a leaf.
        model: `actor_rollout_ref.model.path`, absolute or a hub name.
        starts: Where a relative path may start.

    Raises:
        Missing: There is none.
    """
    from transformers import AutoTokenizer

    named = places.named(flat, "actor_rollout_ref.model.tokenizer_path")
    path = places.absolute(named, starts) if named else model
    trust = bool(flat.get("actor_rollout_ref.model.trust_remote_code", False))
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path, trust_remote_code=trust)
    except (OSError, ValueError, ImportError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise Missing(f"the tokenizer of {path} cannot be read: {first}") from error
    if own := flat.get("actor_rollout_ref.model.custom_chat_template"):
        tokenizer.chat_template = str(own)
    return tokenizer


def write_files(
    config: Mapping[str, Any],
    train: Sequence[Source],
    val: Sequence[Source],
    folder: Path,
    measure: Measure,
    *,
    max_prompt_length: int,
    batch: int,
) -> dict[str, Any]:
    """Write the files from datasets that were found.

    Args:
        config: The resolved recipe; its `rows:` is used.
        train: The datasets to train on.
        val: Those to validate on. Without any, one row of the training set stands in the file,
            since verl wants one; the engine's settings then leave validation out.
        folder: The stage's folder.
        measure: Counts the tokens of prompts.
        max_prompt_length: `verl.data.max_prompt_length`.
        batch: Prompts of one step: the larger of `verl.data.train_batch_size` and `gen_batch_size`.
    """
    wanted: Mapping[str, Any] = config.get("rows") or {}
    long_prompts = str(wanted.get("long_prompts", "drop"))
    report: dict[str, Any] = {"max_prompt_length": max_prompt_length, "long_prompts": long_prompts}
    for name, path, sources, most in (
        ("train", TRAIN, train, wanted.get("max_samples")),
        ("val", VAL, val or train, wanted.get("max_eval_samples") if val else 1),
    ):
        fit = Fit(measure, max_prompt_length, long_prompts, most)
        with ParquetRows(folder / path) as file:
            for some in batches(fit.prompts(rows_of(config, sources)), BATCH):
                file.add(some)
            if not file.rows:
                raise _nothing_left(fit.count, max_prompt_length, name)
            if name == "train" and file.rows < batch:
                raise _too_few(fit.count, batch, most)
        fit.count.left_out = file.left_out
        report[name] = fit.count.to_json()
    if not val:
        report["val"] = None
    write_json(folder / REPORT, report)
    return report


def _nothing_left(count: Count, limit: int, name: str) -> StageFailed:
    shortest = min((tokens for tokens, _ in count.longest), default=limit)
    what = "to train on" if name == "train" else "to validate on"
    return StageFailed(
        f"no prompt {what} is left: all {count.read} are longer than {limit} tokens "
        f"(the first ones have {shortest} and more)",
        "raise verl.data.max_prompt_length, or choose `rows: {long_prompts: truncate}`",
    )


def _too_few(count: Count, batch: int, most: int | None) -> StageFailed:
    why = f"{count.dropped} of {count.read} were too long and left out; " if count.dropped else ""
    if most is not None and most < batch:
        why += f"`rows.max_samples` is {most}; "
    return StageFailed(
        f"there are {count.kept} prompts to train on, and one step takes {batch}: no step would be done",
        f"{why}lower verl.data.train_batch_size (and gen_batch_size), or give more data",
    )
