"""A recipe's tools as verl calls them: whatever a tool does, the model gets an answer in time."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import threading
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from residency import functions
from residency.engines.verl.tool_schemas import schema

AT_ONCE = 32
"""Calls under way at once in one worker process."""

_turnstiles: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


def register(path: str, *, seconds: float) -> None:
    """Make the function at a dotted path a tool of verl's.

    Args:
        path: Such as `residency.tools.calculator.calculate`.
        seconds: How long one call may take.
    """
    from verl.tools.function_tool import function_tool

    told = schema(path)
    function_tool(told["function"]["name"], schema=told)(guarded(functions.load(path), seconds))


def guarded(function: Callable[..., Any], seconds: float) -> Callable[..., Awaitable[str]]:
    """The tool as a coroutine that always answers with text.

    An exception, wrong arguments and a call that takes longer than `seconds` become a message
    to the model, which begins with `Error:`. A sync function runs in a thread of its own; one
    that hangs keeps its thread, but neither the rollout nor the end of the process waits for it.
    """
    signature = inspect.signature(function)

    async def call(**arguments: Any) -> str:
        try:
            signature.bind(**arguments)
        except TypeError as error:
            return f"Error: {error}; it takes {', '.join(signature.parameters) or 'nothing'}"
        limit = asyncio.timeout(seconds)
        try:
            async with _turnstile(), limit:
                if inspect.iscoroutinefunction(function):
                    value = await function(**arguments)
                else:
                    value = await _in_thread(function, arguments)
        except Exception as error:
            if limit.expired():
                return f"Error: no answer within {seconds:g} s"
            return _sound(f"Error: {error}" if str(error) else f"Error: {type(error).__name__}")
        return _sound(_text(value))

    call.__name__ = call.__qualname__ = function.__name__
    call.__doc__ = function.__doc__
    return call


async def _in_thread(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """The function's value, from a thread that nobody waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(value: Any, error: Exception | None) -> None:
        if future.done():
            return  # it took too long
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)

    def work() -> None:
        value: Any = None
        error: Any = None
        try:
            value = function(**arguments)
        except BaseException as raised:
            # sys.exit() in a tool ends no worker; no future can hold a StopIteration.
            plain = isinstance(raised, Exception) and not isinstance(raised, StopIteration)
            error = raised if plain else RuntimeError(f"{type(raised).__name__} {raised}")
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, value, error)

    threading.Thread(target=work, daemon=True).start()
    return await future


def _turnstile() -> asyncio.Semaphore:
    loop = asyncio.get_running_loop()
    return _turnstiles.setdefault(loop, asyncio.Semaphore(AT_ONCE))


def _text(value: Any) -> str:
    """A tool's value as the model reads it: text as it is, anything else as JSON."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        return str(value)


def _sound(text: str) -> str:
    """Text without half characters (lone surrogates), which no tokenizer takes."""
    return text.encode("utf-8", "replace").decode("utf-8")
