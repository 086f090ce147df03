"""The `rewards:` of a recipe as components that can be called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from residency import functions
from residency.errors import RecipeInvalid
from residency.rewards.functions import Function, is_async, is_batched, keywords, score_range

EPSILON = 1e-9
"""Scores closer than this are equal."""


@dataclass(frozen=True)
class Component:
    """One entry of `rewards:`."""

    name: str
    """Its name in metrics and rollouts."""
    fn: Function
    weight: float = 1.0
    args: Mapping[str, Any] = field(default_factory=dict)
    when: str | None = None
    """The earlier component that must score its maximum, or this one is not called."""
    clip: tuple[float, float] | None = None
    """Bounds of the score, before the weight."""
    maximum: float | None = None
    """The score of a right answer after `clip`; None where nobody states it."""
    minimum: float | None = None
    """The lowest score after `clip`; None where the function does not state it."""
    timeout: float | None = None
    """Seconds that one call may take; None: as `reward_calls` says."""
    stated: tuple[float, float] | None = None
    """The range that the function states, before `clip`."""

    @property
    def batched(self) -> bool:
        """Whether the function takes all answers at once."""
        return is_batched(self.fn)

    @property
    def asynchronous(self) -> bool:
        """Whether a call is awaited."""
        return is_async(self.fn)

    @property
    def shut(self) -> float:
        """What it counts as when the component named by `when` does not open it."""
        return 0.0 if self.minimum is None else self.minimum

    @property
    def best(self) -> float | None:
        """Its share in the total of a right answer; None where its maximum is not known.

        A component of negative weight is a penalty: a right answer gets its lowest score. One of
        weight 0 is only logged.
        """
        if self.weight == 0:
            return 0.0
        score = self.maximum if self.weight >= 0 else self.minimum
        return None if score is None else self.weight * score

    def clipped(self, score: float) -> float:
        """The score within `clip`."""
        return score if self.clip is None else min(max(score, self.clip[0]), self.clip[1])

    def opens(self, score: float) -> bool:
        """Whether with this score the components that wait for this one are called."""
        return self.maximum is not None and score >= self.maximum - EPSILON


@dataclass(frozen=True, slots=True)
class Calls:
    """How reward functions are called: `reward_calls:` of a recipe."""

    timeout: float = 30.0
    """Seconds that one call may take."""
    retries: int = 2
    """Further tries after an exception or a time-out."""
    concurrency: int = 16
    """Calls under way at once."""
    stop_share: float = 0.25
    """The run stops when more than this share of a step's samples has no score."""
    back_off: float = 0.5
    """Seconds before the first further try; twice as long before each next one."""


def calls(config: Mapping[str, Any]) -> Calls:
    """`reward_calls:` of a resolved recipe, with defaults."""
    given = config.get("reward_calls") or {}
    return Calls(**{key: value for key, value in given.items() if key in Calls.__slots__})


def best_total(components: Iterable[Component]) -> float | None:
    """The total of a right answer; None where the maximum of a component is not known."""
    total = 0.0
    for component in components:
        if component.best is None:
            return None
        total += component.best
    return total


def default_name(path: str) -> str:
    """A component's name when the recipe gives none: the function's path less `rewards.`."""
    return path.removeprefix("rewards.")


def components(config: Mapping[str, Any]) -> tuple[Component, ...]:
    """The components of a resolved recipe, their functions imported.

    Raises:
        RecipeInvalid: A function is not there, or a component cannot be what it is said to be.
    """
    made: list[Component] = []
    for entry in config.get("rewards") or ():
        component = _component(entry)
        names = [earlier.name for earlier in made]
        if component.name in names:
            hint = "give one of them a `name:` of its own"
            raise RecipeInvalid(f"two rewards are named `{component.name}`", hint)
        if component.when is not None:
            _check_gate(component, made)
        made.append(component)
    return tuple(made)


def _component(entry: Mapping[str, Any]) -> Component:
    path = str(entry["fn"])
    function: Function = functions.load(path)
    args = dict(entry.get("args") or {})
    try:
        keywords(function)
        stated = score_range(function, args)
    except ValueError as error:
        raise RecipeInvalid(f"`{path}` cannot be used as a reward: {error}") from error
    clip = entry.get("clip")
    bounds = None if clip is None else (float(clip[0]), float(clip[1]))
    if bounds is not None and bounds[0] > bounds[1]:
        raise RecipeInvalid(
            f"`clip` of `{path}` goes from {bounds[0]:g} to {bounds[1]:g}", "write it low first"
        )
    plain = Component(
        name=str(entry.get("name") or default_name(path)),
        fn=function,
        weight=float(entry.get("weight", 1.0)),
        args=args,
        when=entry.get("when"),
        clip=bounds,
        timeout=entry.get("timeout"),
        stated=stated,
    )
    highest = entry.get("max", stated.high if stated else None)
    if stated and highest is not None and not stated.low <= highest <= stated.high:
        raise RecipeInvalid(
            f"`max: {highest:g}` of `{path}`: the function scores from {stated.low:g} to {stated.high:g}",
            "leave it out, or give a score within",
        )
    return replace(
        plain,
        maximum=None if highest is None else plain.clipped(float(highest)),
        minimum=plain.clipped(stated.low) if stated else None,
    )


def _check_gate(component: Component, made: Sequence[Component]) -> None:
    gate = next((earlier for earlier in made if earlier.name == component.when), None)
    if gate is None:
        earlier = ", ".join(f"`{c.name}`" for c in made) or "none"
        raise RecipeInvalid(
            f"`when: {component.when}` of `{component.name}` names no earlier reward",
            f"earlier ones are: {earlier}",
        )
    if gate.maximum is None:
        raise RecipeInvalid(
            f"`{component.name}` waits for `{gate.name}` to score its maximum, which is not known",
            f"add `max:` to `{gate.name}`",
        )
