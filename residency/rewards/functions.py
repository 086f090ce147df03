"""What a reward function may say of itself: the range of its scores, and that it takes many answers at once.

A reward function is called as verl's compute_score, by keyword:

    @scores(0.0, 1.0)
    def answer(data_source, solution_str, ground_truth, extra_info=None, *, tag="answer"):

It takes the model's answer alone as `solution_str`, and gives a number, or a mapping with
`score` whose other entries are kept with the rollout. It may be `async`. With `@batched` it
takes lists (`data_sources`, `solution_strs`, `ground_truths`, `extra_infos`) and gives a list.
An exception says that the answer could not be scored: it is never taken for a score of 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

Function = Callable[..., Any]
Bound = float | Callable[[Mapping[str, Any]], float]
_F = TypeVar("_F", bound=Function)

SINGLE = ("data_source", "solution_str", "ground_truth", "extra_info")
"""The keyword arguments of a reward function, beside those under `args:`."""
BATCHED = ("data_sources", "solution_strs", "ground_truths", "extra_infos")
"""The same of a `@batched` one."""


class Range(NamedTuple):
    """The lowest and the highest score of a function."""

    low: float
    high: float


def scores(low: Bound, high: Bound) -> Callable[[_F], _F]:
    """State the lowest and the highest score; a right answer gets the highest.

    A bound that depends on the function's arguments is a function of them:
    `@scores(0.0, lambda args: args["format_reward"] + 1.0)`; defaults are filled in.
    A score outside the range is taken for a fault of the function, not for a score.
    """

    def mark(function: _F) -> _F:
        function.score_range = (low, high)  # type: ignore[attr-defined]
        return function

    return mark


def batched(function: _F) -> _F:
    """Mark a function as one that takes lists and gives a list of scores in their order."""
    function.batched = True  # type: ignore[attr-defined]
    return function


def is_batched(function: Function) -> bool:
    """Whether a function takes lists."""
    return bool(getattr(function, "batched", False))


def is_async(function: Function) -> bool:
    """Whether a call must be awaited: of an `async def`, or of an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004
    )


def score_range(function: Function, args: Mapping[str, Any]) -> Range | None:
    """The range that a function states for these arguments, or None when it states none.

    Raises:
        ValueError: The range cannot be told from the arguments, or is none.
    """
    stated = getattr(function, "score_range", None)
    if stated is None:
        return None
    whole = {**_defaults(function), **args}
    try:
        low, high = (float(bound(whole)) if callable(bound) else float(bound) for bound in stated)
    except (TypeError, ValueError, KeyError, ArithmeticError) as error:
        raise ValueError(f"its range of scores cannot be told from {dict(args)}: {error!r}") from error
    if not low <= high:
        raise ValueError(f"its scores go from {low:g} to {high:g}")
    return Range(low, high)


def keywords(function: Function) -> tuple[str, ...]:
    """Which of the four values a function takes, by the names that it uses for them.

    Raises:
        ValueError: It takes no answer.
    """
    names = BATCHED if is_batched(function) else SINGLE
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return names
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return names
    taken = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    if names[1] not in taken:
        raise ValueError(f"it has no parameter `{names[1]}`, which takes the answer")
    return tuple(name for name in names if name in taken)


def _defaults(function: Function) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}
