"""What is kept of each step: rewards by component, groups without variance, rollouts to be read."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from residency.engines.verl import places

PREFIX = "reward/"
"""A component in verl's `reward_extra_info`; the bridge writes them."""
UNAVAILABLE = "unavailable"
TOTAL = "acc"
"""verl's own name for the figure that it reports first."""
LEARNT = ("actor/pg_loss", "actor/grad_norm", "critic/vf_loss", "critic/grad_norm")
BAD_STEPS = 3
"""So many steps in a row without learning end the training."""


@dataclass(slots=True)
class Sample:
    """One rollout of the step."""

    uid: str
    """The prompt's id in this step: the samples of one group share it."""
    total: float
    """The whole reward; NaN when there is none."""
    components: dict[str, float]
    group: Any = None
    """What HRPO groups by."""
    row: dict[str, Any] = field(default_factory=dict)
    """What is written of it, when it is kept."""

    @property
    def unavailable(self) -> bool:
        """True when a component could not be had."""
        return math.isnan(self.total)


class TooManyUnavailable(RuntimeError):
    """More samples without a reward than the recipe allows."""


class RolloutsFailed(RuntimeError):
    """More rollouts than the recipe allows ended in an error."""


class Diverged(RuntimeError):
    """The policy's outputs are no numbers."""


class Record:
    """Kept by the trainer, in its own process."""

    def __init__(self, folder: Path, options: Mapping[str, Any]) -> None:
        self._rollouts = folder / "outputs" / places.ROLLOUTS
        self._rollouts.parent.mkdir(exist_ok=True)
        self._options = options
        self._bad_steps = 0

    def samples(self, data: Any, keys: Sequence[str], real: Sequence[bool], tokenizer: Any) -> list[Sample]:
        """The step's samples from verl's batch, in its order; padding is left without components."""
        extra, infos, uids = (_plain(data.get(name)) for name in ("extra_fields", "extra_info", "uid"))
        found = []
        for i, key in enumerate(keys):
            info = extra[i].get("reward_extra_info") or {}
            components = {n.removeprefix(PREFIX): float(v) for n, v in info.items() if n.startswith(PREFIX)}
            sample = Sample(
                uid=str(uids[i]),
                total=float(info.get(TOTAL, math.nan)),
                components=components if real[i] else {},
                group=(infos[i] or {}).get("group"),
            )
            if real[i]:
                sample.row = {
                    "key": key,
                    "prompt": data["prompts"][i],
                    "response": data["responses"][i],
                    "info": info,
                }
            found.append(sample)
        self._tokenizer = tokenizer
        return found

    def step(self, step: int, samples: Sequence[Sample]) -> dict[str, float]:
        """The step's figures for verl's loggers; also keeps some rollouts."""
        real = [s for s in samples if s.row]
        self._keep(step, real)
        there = [s for s in real if not s.unavailable]
        metrics = {
            "rewards/unavailable": 1 - len(there) / len(real) if real else 0.0,
            **figures("rewards/total", [s.total for s in there]),
        }
        limit = self._options.get("max_response_length")
        lengths = [len(s.row["response"]) for s in real if "response" in s.row]
        if limit and lengths:
            metrics["response_length/at_limit"] = sum(n >= int(limit) for n in lengths) / len(lengths)
        for name in dict.fromkeys(name for s in real for name in s.components):
            values = [s.components[name] for s in real if not math.isnan(s.components.get(name, math.nan))]
            metrics |= figures(f"rewards/{name}", values)
        groups = defaultdict(list)
        for sample in there:
            groups[sample.uid].append(sample.total)
        several = [values for values in groups.values() if len(values) > 1]
        if several:
            flat = sum(max(values) - min(values) < 1e-9 for values in several)
            metrics["rewards/zero_variance_groups"] = flat / len(several)
        return metrics

    def stop_if_too_many(self, step: int, samples: Sequence[Sample]) -> None:
        """Stop when more samples than the recipe allows have no reward, or none has one.

        Raises:
            TooManyUnavailable: it is so.
        """
        real = [s for s in samples if s.row]
        missing = [s for s in real if s.unavailable]
        limit = float(self._options["stop_share"])
        if missing and (len(missing) / len(real) > limit or len(missing) == len(real)):
            why = next((str(s.row["info"].get("why")) for s in missing if s.row["info"].get("why")), "")
            raise TooManyUnavailable(
                f"step {step}: {len(missing)} of {len(real)} samples have no reward, more than "
                f"reward_calls.stop_share {limit:g} allows; {why}"
            )

    def stop_if_too_many_failed(self, step: int, keys: Sequence[str], wanted: int) -> dict[str, float]:
        """The share of the step's rollouts that ended in an error, as a figure for verl's loggers.

        Raises:
            RolloutsFailed: it is greater than the recipe allows.
        """
        lost = max(0, wanted - len({key.rsplit("_", 1)[0] for key in keys}))
        limit = float(self._options["stop_share"])
        if lost / wanted > limit:
            raise RolloutsFailed(
                f"step {step}: {lost} of {wanted} rollouts failed, more than "
                f"reward_calls.stop_share {limit:g} allows"
            )
        return {"rewards/failed": lost / wanted} if lost else {}

    def stop_if_diverged(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Stop before what has diverged is saved.

        verl leaves out an update whose gradient is not a number; that may happen now and then.

        Raises:
            Diverged: the policy gives no numbers any more, or has not learnt for some steps.
        """
        if not _finite(metrics.get("actor/entropy")):
            raise Diverged(f"step {step}: the policy's outputs are not numbers any more")
        bad = [name for name in LEARNT if not _finite(metrics.get(name))]
        self._bad_steps = self._bad_steps + 1 if bad else 0
        if self._bad_steps >= BAD_STEPS:
            raise Diverged(f"step {step}: {bad[0]} has not been a number for {BAD_STEPS} steps")

    def validation(self, step: int, infos: Mapping[str, Sequence[Any]]) -> tuple[dict[str, float], list[int]]:
        """The validation's figures by component, and which samples have a reward."""
        totals = [_score(v) for v in infos.get(TOTAL, infos.get("reward", []))]
        there = [i for i, value in enumerate(totals) if not math.isnan(value)]
        metrics = {
            "validation/n": float(len(there)),
            "validation/unavailable": float(len(totals) - len(there)),
        }
        metrics |= figures("validation/total", [totals[i] for i in there])
        for name, column in _components(infos).items():
            metrics |= figures(f"validation/{name}", [v for v in column if not math.isnan(v)])
        return metrics, there

    def validation_rollouts(
        self, step: int, inputs: Sequence[str], outputs: Sequence[str], infos: Mapping[str, Sequence[Any]]
    ) -> None:
        """Keep the answers to a few of the validation's prompts: the same ones each time."""
        totals = [_score(v) for v in infos.get(TOTAL, infos.get("reward", []))]
        components, why = _components(infos), infos.get("why") or [None] * len(inputs)
        order = sorted(range(len(inputs)), key=lambda i: (inputs[i], outputs[i]))  # they come as they end
        for i in order[: int(self._options["per_step"])]:
            self._write(
                {
                    "step": step,
                    "split": "validation",
                    "prompt": inputs[i],
                    "answer": outputs[i],
                    "reward": _or_none(totals[i]),
                    "components": {name: _or_none(column[i]) for name, column in components.items()},
                    "unavailable": why[i] or None,
                }
            )

    def _keep(self, step: int, samples: Sequence[Sample]) -> None:
        count = min(int(self._options["per_step"]), len(samples))
        for sample in random.Random(step).sample(list(samples), count):
            info = sample.row["info"]
            decode = self._tokenizer.decode
            self._write(
                {
                    "step": step,
                    "split": "train",
                    "prompt": decode(sample.row["prompt"], skip_special_tokens=True),
                    "answer": decode(sample.row["response"], skip_special_tokens=True),
                    "reward": None if sample.unavailable else sample.total,
                    "components": {n: _or_none(v) for n, v in sample.components.items()},
                    "group": sample.group,
                    "unavailable": info.get("why"),
                }
            )

    def _write(self, row: Mapping[str, Any]) -> None:
        with self._rollouts.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _components(infos: Mapping[str, Sequence[Any]]) -> dict[str, list[float]]:
    """Each component's column of verl's `reward_extra_info`; NaN where a sample has none."""
    return {n.removeprefix(PREFIX): [_score(v) for v in c] for n, c in infos.items() if n.startswith(PREFIX)}


def _score(value: Any) -> float:
    return math.nan if value is None else float(value)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _finite(value: Any) -> bool:
    """True for what is a number, or is not there."""
    return value is None or bool(np.isfinite(np.asarray(value, dtype=float)).all())


def _plain(values: Any) -> list[Any]:
    """A column of verl's batch that holds no tensors."""
    return list(values.tolist() if hasattr(values, "tolist") else values)


def figures(name: str, values: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation (population) and quantiles of a step's values; nothing when there are none."""
    if not values:
        return {}
    array = np.asarray(values, dtype=float)
    low, middle, high = np.quantile(array, [0.1, 0.5, 0.9])
    return {
        f"{name}/mean": float(array.mean()),
        f"{name}/std": float(array.std()),
        f"{name}/q10": float(low),
        f"{name}/q50": float(middle),
        f"{name}/q90": float(high),
    }
