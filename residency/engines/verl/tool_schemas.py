"""What a model is told of a tool, as verl tells it: a function's schema in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from residency import functions
from residency.errors import RecipeInvalid

_PROPERTY = ("type", "description", "enum")
"""What verl keeps of a parameter's schema."""


def schema(path: str) -> dict[str, Any]:
    """What the model is told of the tool at `path`: name, description and parameters.

    Equal to what verl makes of the function, so that prompts are measured as they will be.

    Raises:
        RecipeInvalid: It has no docstring, or a parameter without a type or a description.
    """
    from transformers.utils import chat_template_utils

    function = functions.load(path)
    try:
        made = chat_template_utils.get_json_schema(function)["function"]
    except (
        chat_template_utils.DocstringParsingException,
        chat_template_utils.TypeHintParsingException,
        NameError,
    ) as error:
        raise RecipeInvalid(f"the tool {path} cannot be described to a model: {error}") from error
    parameters = made["parameters"]
    properties: dict[str, Any] = {}
    for name, described in parameters["properties"].items():
        if "type" not in described:
            raise RecipeInvalid(
                f"the parameter `{name}` of the tool {path} has no one JSON type",
                "annotate it with str, int, float, bool, list, dict or a Literal",
            )
        properties[name] = {key: described[key] for key in _PROPERTY if key in described}
    told: dict[str, Any] = {"type": "object", "properties": properties}
    if "required" in parameters:
        told["required"] = parameters["required"]
    return {
        "type": "function",
        "function": {"name": made["name"], "description": made["description"], "parameters": told},
    }


def schemas(paths: Sequence[str]) -> list[dict[str, Any]]:
    """The schemas of a recipe's tools, in its order."""
    return [schema(path) for path in paths]
