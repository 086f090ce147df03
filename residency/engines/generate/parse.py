"""Answers that are to be JSON: read whole, checked against a schema."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from typing import Any

_FENCE = re.compile(r"\s*```[A-Za-z]*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)
_THOUGHT = re.compile(r"\s*<think>.*?</think>", re.DOTALL)


class NotJson(ValueError):
    """An answer that is not the JSON that was asked for; the text says why."""


def parse(text: str, wanted: bool | Mapping[str, Any]) -> Any:
    """The JSON of an answer: an object or a list.

    It must be the whole answer, alone or in one fenced block; what stands within <think> before it
    does not count. JSON is never picked out of running text.

    Args:
        text: The answer.
        wanted: True, or the JSON Schema that it must fit.

    Raises:
        NotJson: It is none, or does not fit.
    """
    text = _THOUGHT.sub("", text, count=1) if text.lstrip().startswith("<think>") else text
    fenced = _FENCE.fullmatch(text)
    try:
        found = json.loads(fenced[1] if fenced else text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise NotJson(
            f"not JSON: {error}" if isinstance(error, json.JSONDecodeError) else "not JSON"
        ) from None
    if not isinstance(found, dict | list):
        raise NotJson("neither an object nor a list")
    if isinstance(wanted, Mapping):
        problem = next(iter(_validator(json.dumps(wanted, sort_keys=True)).iter_errors(found)), None)
        if problem is not None:
            where = ".".join(str(part) for part in problem.absolute_path)
            raise NotJson(f"against the schema{f' at {where}' if where else ''}: {problem.message[:200]}")
    return found


def check_schema(schema: Mapping[str, Any]) -> str | None:
    """What is wrong with a JSON Schema, or None."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        return str(error.message)[:200]
    return None


@functools.lru_cache(maxsize=8)
def _validator(schema: str) -> Any:
    import jsonschema

    return jsonschema.Draft202012Validator(json.loads(schema))


def _refuse(word: str) -> Any:
    raise ValueError(word)
