"""Whatever a tool does, the model gets text in time."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from residency.engines.verl.driver.tool_calls import AT_ONCE, guarded
from residency.tools.calculator import calculate


def run(function: Callable[..., Any], seconds: float = 5.0, **arguments: Any) -> str:
    return asyncio.run(guarded(function, seconds)(**arguments))


def test_values_become_text() -> None:
    assert run(calculate, expression="2 * 21") == "42"
    assert run(lambda: {"é": [1, None]}) == '{"é": [1, null]}'
    assert run(lambda: None) == "null"
    assert run(lambda: 3) == "3"


def test_async_tools() -> None:
    async def later(x: int) -> str:
        await asyncio.sleep(0.01)
        return f"got {x}"

    assert run(later, x=3) == "got 3"


def test_errors_are_told_to_the_model() -> None:
    def fails() -> str:
        raise KeyError

    def stops() -> str:
        raise StopIteration("over")

    assert run(calculate, expression="1 / 0") == "Error: division by zero"
    assert run(fails) == "Error: KeyError"
    assert run(stops) == "Error: StopIteration over"
    assert run(lambda: sys.exit(3)) == "Error: SystemExit 3"


def test_wrong_arguments_are_told_with_the_right_ones() -> None:
    said = run(calculate, exp="1")
    assert "expression" in said
    assert said.startswith("Error:")
    assert run(calculate, expression="1", digits=2).endswith("it takes expression")


def test_a_tool_that_hangs_is_left_behind() -> None:
    release = threading.Event()
    start = time.monotonic()
    assert run(release.wait, 0.2, timeout=20) == "Error: no answer within 0.2 s"

    async def forever() -> None:
        await asyncio.sleep(60)

    assert run(forever, 0.2) == "Error: no answer within 0.2 s"
    assert time.monotonic() - start < 5
    release.set()


def test_a_time_out_of_the_tools_own_is_its_own_error() -> None:
    def fetch() -> str:
        raise TimeoutError("the server did not answer")

    assert run(fetch) == "Error: the server did not answer"


def test_hung_calls_do_not_block_later_ones() -> None:
    release = threading.Event()

    async def many() -> list[str]:
        hang, quick = guarded(lambda: release.wait(30), 0.2), guarded(lambda: "done", 5.0)
        await asyncio.gather(*(hang() for _ in range(AT_ONCE + 8)))
        return await asyncio.gather(*(quick() for _ in range(4)))

    assert asyncio.run(many()) == ["done"] * 4
    release.set()


def test_half_characters_are_replaced() -> None:
    assert run(lambda: "a\ud800b") == "a?b"


@pytest.mark.parametrize("value", [object(), {1, 2}])
def test_values_that_json_lacks(value: Any) -> None:
    assert run(lambda: value)
