"""LLaMA-Factory as an engine of the launcher.

A stage's folder holds `train.yaml` and `dataset_info.json`, which LLaMA-Factory reads,
`training/`, its own output folder with the checkpoints, and `outputs/model` or
`outputs/adapter`, the result alone. See checkpoints.py for how an interrupted training goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from residency.engines.base import CheckContext, Engine, Job, Launch, MemoryEstimate, Progress, Verified
from residency.engines.llamafactory import (
    checkpoints,
    command,
    cut,
    estimate,
    failures,
    history,
    places,
    result,
    settings,
)
from residency.recipe.diagnostics import Diagnostics
from residency.recipe.model import Recipe


class LlamaFactory(Engine):
    """Drives `llamafactory-cli train`."""

    name: ClassVar[str] = "llamafactory"
    distribution: ClassVar[str] = "llamafactory"

    def gpus(self, config: Mapping[str, Any], there: int) -> int | None:
        """No GPU with `use_cpu`: else it would be one training process on the CPU for each GPU."""
        return 0 if (config.get("llamafactory") or {}).get("use_cpu") is True else None

    def check(self, recipe: Recipe, context: CheckContext, found: Diagnostics) -> None:
        """The rules that LLaMA-Factory's schema cannot say."""
        # Not at the top: planning a checked recipe needs none of the rules.
        from residency.engines.llamafactory import rules

        rules.check(recipe, context, found)

    def prepare(self, job: Job) -> Launch:
        """train.yaml, dataset_info.json, deepspeed.json, and the command that reads them."""
        made = settings.build(job)
        several = settings.processes(job) > 1
        return Launch(
            argv=command.argv(),
            files={"train.yaml": made.text(), **made.files},
            env=command.environment(job, made),
            stall_seconds=command.STALL if several else None,
            notes=tuple(made.notes),
        )

    def resume(self, job: Job) -> str | None:
        """Put the training folder in order, so that LLaMA-Factory goes on from its last whole checkpoint.

        train.yaml stays as it is. Where LLaMA-Factory cannot go on (`save_only_model`, reward
        models) the training starts from nothing. Of a training that was already at its end the
        last steps are done again; ask `finished` first.
        """
        training = job.folder / places.TRAINING
        given = places.block(job.config)
        last = None
        if settings.resumable(given):
            first = given.get("resume_from_checkpoint")
            if isinstance(first, str):
                training.mkdir(parents=True, exist_ok=True)
                source = Path(
                    places.absolute(first, places.roots(job.config, job.recipe_folder, job.project))
                )
                checkpoints.adopt(source, training)
            last, _ = checkpoints.tidy(training, job.folder / checkpoints.ASIDE)
        if last is None:
            shutil.rmtree(training, ignore_errors=True)
            history.forget(job.folder)
            return None
        history.keep(training, job.folder, last.step)
        return last.path.name

    def finished(self, job: Job) -> bool:
        """True when the training is done and only its result was not yet taken over."""
        return result.finished(job)

    def progress(self, job: Job) -> Progress:
        """The step, from trainer_log.jsonl and the progress bar; before that, what it is doing."""
        return history.progress(job.folder / places.TRAINING, job.folder)

    def metrics(self, job: Job) -> Iterable[Mapping[str, Any]]:
        """One row a logged step, over all attempts."""
        return history.rows(job.folder / places.TRAINING, job.folder)

    def notices(self, job: Job) -> tuple[str, ...]:
        """Rows that were cut at `cutoff_len`, said while it can still be changed."""
        said = cut.warning(cut.of(job), job)
        return (said,) if said else ()

    def verify(self, job: Job) -> Verified:
        """See that the last step was reached and the result is whole, and take it over."""
        return result.verify(job)

    def reused(self, job: Job) -> tuple[str, ...]:
        """Put the result where `output_dir` says: that may have changed, or hold another stage's."""
        return tuple(result.publish_result(job))

    def explain_failure(self, job: Job, log_tail: str) -> tuple[str, str | None]:
        """The cause in one sentence, and what to change."""
        return failures.explain(log_tail)

    def estimate(self, job: Job) -> MemoryEstimate | None:
        """GPU memory that the training is expected to take; None where the model is not known."""
        return estimate.of(job)


ENGINE = LlamaFactory()
