"""Scores answers: every component of the recipe, its gate, its bounds, its weight, their sum.

What cannot be scored is unavailable, with the reason, and never counts as 0: whoever trains
leaves the sample out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from residency.rewards.call import Attempt, Fault, Hanging, Outcome, Raw, Value, in_loop, in_threads, value
from residency.rewards.functions import BATCHED, SINGLE, keywords
from residency.rewards.spec import Calls, Component
from residency.rewards.threads import THREADS

LONGEST_BACK_OFF = 8.0
DEFAULT = Calls()


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer to be scored."""

    data_source: str
    answer: str
    """What the model wrote, alone: no prompt, no tool's output."""
    ground_truth: Any
    extra_info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of it."""

    total: float | None
    """The weighted sum; None when a component that has a weight is unavailable."""
    components: dict[str, float | None]
    """Each component's score after `clip` and before its weight; None when it is unavailable."""
    extra: dict[str, Any] = field(default_factory=dict)
    """`component/key` → what a function gave beside its score."""
    errors: dict[str, str] = field(default_factory=dict)
    """Component → why it is unavailable."""


class Scorer:
    """Scores answers with the components of a recipe. May be used from several tasks at once."""

    def __init__(self, components: Iterable[Component], calls: Calls = DEFAULT) -> None:
        self.components = tuple(components)
        self.calls = calls
        self.taken = {component.name: keywords(component.fn) for component in self.components}
        self._hanging = Hanging()
        self._slots: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    @property
    def hanging(self) -> int:
        """Threads that are left behind in calls that took too long and have not come back."""
        return len(self._hanging)

    @property
    def left_behind(self) -> int:
        """Threads that were ever left behind."""
        return self._hanging.total

    def score_now(self, samples: Sequence[Sample]) -> list[Scored]:
        """As `score`, for callers that do not await."""
        return THREADS.wait_for(self.score(samples))

    async def score(self, samples: Sequence[Sample]) -> list[Scored]:
        """The scores of the samples, in their order. Raises nothing that a reward function raises."""
        samples = [_plain(sample) for sample in samples]
        tasks: dict[str, asyncio.Task[list[Outcome]]] = {}
        async with asyncio.TaskGroup() as group:
            for component in self.components:
                gate = tasks[component.when] if component.when is not None else None
                tasks[component.name] = group.create_task(self._component(component, samples, gate))
        outcomes = {name: task.result() for name, task in tasks.items()}
        return [self._sum({name: found[i] for name, found in outcomes.items()}) for i in range(len(samples))]

    def _sum(self, outcomes: Mapping[str, Outcome]) -> Scored:
        scores: dict[str, float | None] = {}
        extra: dict[str, Any] = {}
        errors: dict[str, str] = {}
        total: float | None = 0.0
        for component in self.components:
            outcome = outcomes[component.name]
            if isinstance(outcome, Fault):
                scores[component.name] = None
                errors[component.name] = outcome.reason
                if component.weight:  # else it is only logged
                    total = None
                continue
            scores[component.name] = outcome.score
            extra.update({f"{component.name}/{key}": item for key, item in outcome.extra.items()})
            if total is not None:
                total += component.weight * outcome.score
        return Scored(total, scores, extra, errors)

    async def _component(
        self, component: Component, samples: Sequence[Sample], gate: asyncio.Task[list[Outcome]] | None
    ) -> list[Outcome]:
        """One component's outcomes for all samples."""
        found: dict[int, Outcome] = {}
        if gate is not None:
            opener = next(c for c in self.components if c.name == component.when)
            for index, outcome in enumerate(await gate):
                if isinstance(outcome, Fault):
                    found[index] = Fault(f"`{opener.name}`, which it waits for, is unavailable")
                elif not opener.opens(outcome.score):
                    found[index] = Value(component.shut)
        for index, sample in enumerate(samples):
            if index not in found and not isinstance(sample.answer, str):
                found[index] = Fault(f"the answer is no text but a {type(sample.answer).__name__}")
        caller = _Caller(self, component, samples)
        found |= await caller.score([index for index in range(len(samples)) if index not in found])
        return [found[index] for index in range(len(samples))]

    def slots(self) -> asyncio.Semaphore:
        """What limits the calls under way at once, of all tasks of the running loop."""
        loop = asyncio.get_running_loop()
        if self._slots is None or self._slots[0] is not loop:
            self._slots = (loop, asyncio.Semaphore(self.calls.concurrency))
        return self._slots[1]


class _Caller:
    """The calls of one component."""

    def __init__(self, scorer: Scorer, component: Component, samples: Sequence[Sample]) -> None:
        self.scorer = scorer
        self.component = component
        self.samples = samples
        self.taken = scorer.taken[component.name]
        self.timeout = component.timeout or scorer.calls.timeout

    async def score(self, indices: list[int]) -> dict[int, Outcome]:
        if not indices:
            return {}
        raw = await (self._at_once(indices) if self.component.batched else self._each(indices))
        return {index: self._read(found) for index, found in raw.items()}

    def _read(self, found: Raw) -> Outcome:
        if isinstance(found, Fault):
            return found
        outcome = value(found[0], self.component.stated)
        if isinstance(outcome, Fault):
            return outcome
        return Value(self.component.clipped(outcome.score), outcome.extra)

    async def _each(self, indices: list[int]) -> dict[int, Raw]:
        """One call an answer; those that fail are made again together, after a pause."""
        return await self._tried(indices, [[index] for index in indices])

    async def _at_once(self, indices: list[int]) -> dict[int, Raw]:
        """One call for all answers; where it fails, one for each, so that one does not cost all."""
        raw = (await self._tried([0], [indices]))[0]
        whole = raw if isinstance(raw, Fault) else self._list(raw[0], len(indices))
        if isinstance(whole, list):
            return {index: (item,) for index, item in zip(indices, whole, strict=True)}
        if len(indices) == 1:
            return {indices[0]: whole}
        # When the first few fail alone too, it is not the rows.
        found: dict[int, Raw] = {}
        few = max(4, self.scorer.calls.concurrency)
        for part in (indices[:few], indices[few:]):
            if found and all(isinstance(item, Fault) for item in found.values()):
                return found | dict.fromkeys(part, whole)
            alone = await self._tried(part, [[index] for index in part], tries=1)
            for index, item in alone.items():
                one = item if isinstance(item, Fault) else self._list(item[0], 1)
                found[index] = one if isinstance(one, Fault) else (one[0],)
        return found

    @staticmethod
    def _list(returned: object, count: int) -> list[Any] | Fault:
        """What a batched function returned, as a list of the right length."""
        if hasattr(returned, "tolist"):
            returned = returned.tolist()  # of numpy or torch
        if not isinstance(returned, list | tuple):
            return Fault(f"it must return a list of scores, and returned a {type(returned).__name__}")
        if len(returned) != count:
            return Fault(f"it returned {len(returned)} scores for {count} answers")
        return list(returned)

    async def _tried(
        self, keys: list[int], groups: Sequence[list[int]], *, tries: int | None = None
    ) -> dict[int, Raw]:
        """Call with each group of samples, and again those that failed; key → what came of it."""
        calls = self.scorer.calls
        by_key = dict(zip(keys, groups, strict=True))
        found: dict[int, Raw] = {}
        for number in range(calls.retries + 1 if tries is None else tries):
            if number:
                await asyncio.sleep(min(LONGEST_BACK_OFF, calls.back_off * 2 ** (number - 1)))
            attempt = Attempt(self.timeout, calls.concurrency)
            slots = self.scorer.slots()
            if self.component.asynchronous:
                await in_loop(lambda key: self._call(by_key[key]), keys, attempt, slots)
            else:
                hanging = self.scorer._hanging
                await in_threads(lambda key: self._call(by_key[key]), keys, attempt, slots, hanging)
            found |= attempt.results
            keys = [key for key in keys if _again(found[key])]
            if not keys:
                break
        return found

    def _call(self, group: list[int]) -> Any:
        """Call the function: with one sample, or with lists when it is a batched one."""
        component = self.component
        chosen = [self.samples[index] for index in group]
        columns: tuple[list[Any], ...] = (
            [sample.data_source for sample in chosen],
            [sample.answer for sample in chosen],
            [sample.ground_truth for sample in chosen],
            [dict(sample.extra_info) for sample in chosen],
        )
        if component.batched:
            given: dict[str, Any] = dict(zip(BATCHED, columns, strict=True))
        else:
            given = {name: column[0] for name, column in zip(SINGLE, columns, strict=True)}
        return component.fn(**{name: given[name] for name in self.taken}, **component.args)


def _again(found: Raw) -> bool:
    return isinstance(found, Fault) and found.again


def _plain(sample: Sample) -> Sample:
    """The sample with a ground truth of Python's own kind: rows of parquet bring numpy's."""
    if hasattr(sample.ground_truth, "tolist"):
        truth = sample.ground_truth.tolist()
        return Sample(sample.data_source, sample.answer, truth, sample.extra_info)
    return sample
