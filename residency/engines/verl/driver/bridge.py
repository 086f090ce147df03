"""verl's reward manager that calls the recipe's components.

verl hands over one sample at a time; those that wait together are scored together, so that a batched
component sees a batch. What it reads is the model's own last turn, never the prompt or a tool's words.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from pathlib import Path
from typing import Any

from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from residency.engines.verl import places
from residency.engines.verl.driver.answer import answer_of
from residency.engines.verl.driver.record import PREFIX, TOTAL, UNAVAILABLE
from residency.rewards.score import Sample, Scored, Scorer
from residency.rewards.spec import calls, components

GATHER_SECONDS = 0.01
MOST = 256


class Rewards(RewardManagerBase):
    """One a reward worker."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        path = Path(os.environ["RESIDENCY_STAGE"]) / places.REWARDS
        options = json.loads(path.read_text(encoding="utf-8"))
        self._scorer = Scorer(components(options), calls(options))
        self._waiting: list[tuple[Sample, asyncio.Future[Scored]]] = []
        self._task: asyncio.Task[None] | None = None

    async def run_single(self, data: Any) -> dict[str, Any]:
        """The reward of the last sequence of one trajectory."""
        sample = self._sample(data[-1:][0])
        future: asyncio.Future[Scored] = asyncio.get_running_loop().create_future()
        self._waiting.append((sample, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain())
        return _answer(await future)

    def _sample(self, item: Any) -> Sample:
        ids = item.batch["responses"]
        valid = int(item.batch["attention_mask"][-ids.shape[-1] :].sum())
        kept = item.non_tensor_batch
        info = dict(kept.get("extra_info") or {})
        text, turns = answer_of(ids[:valid], kept.get("tool_extra_fields"), self.tokenizer)
        info["turns"] = turns
        return Sample(
            data_source=kept.get("data_source"),
            answer=text,
            ground_truth=kept["reward_model"]["ground_truth"],
            extra_info=info,
        )

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            try:
                scored = await self._scorer.score([sample for sample, _ in batch])
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), result in zip(batch, scored, strict=True):
                future.set_result(result)


def _answer(scored: Scored) -> dict[str, Any]:
    """verl's form of a reward. A sample without one gets 0 here, and the trainer leaves it out."""
    missing = scored.total is None
    info: dict[str, Any] = {
        TOTAL: math.nan if scored.total is None else scored.total,
        UNAVAILABLE: float(missing),
        "why": "; ".join(f"{name}: {why}" for name, why in scored.errors.items()) if missing else "",
    }
    for name, value in scored.components.items():
        info[f"{PREFIX}{name}"] = math.nan if value is None else value
    return {"reward_score": 0.0 if scored.total is None else scored.total, "reward_extra_info": info}
