"""Writes the JSON Schema of lm-evaluation-harness's arguments, from its configuration dataclass.

Run in a process of its own: `python -m residency.engines.lm_eval.schema_source OUT.json`.
`launch.py schema` does so.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import sys
import typing
from pathlib import Path
from typing import Any

from residency.engines.dataclass_schema import lay_over_all, property_schema

DISTRIBUTION = "lm_eval"
LISTS = {"tasks": "residency.engines.lm_eval.tasks_source"}
"""Lists of names that go with the schema: lm_eval-VERSION.tasks.txt, and the module that makes it."""
OVERLAY = Path(__file__).with_name("schema_overlay.json")
"""What the dataclass does not say: ranges, dictionaries that may be written as text."""


def build() -> dict[str, Any]:
    """The schema of the keys under `lm_eval:`."""
    from lm_eval.config.evaluate_config import DICT_KEYS, EvaluatorConfig

    version = importlib.metadata.version(DISTRIBUTION)
    hints = typing.get_type_hints(EvaluatorConfig)
    properties = {
        item.name: property_schema(item, hints[item.name], EvaluatorConfig.__name__)
        for item in dataclasses.fields(EvaluatorConfig)
    }
    overlay = json.loads(OVERLAY.read_text(encoding="utf-8"))
    lay_over_all(properties, overlay["properties"], f"lm-eval {version}")
    for name in DICT_KEYS:  # `pretrained=x,dtype=float32` is read as a dictionary
        properties[name]["type"] = ["object", "string"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"lm-evaluation-harness {version}",
        "$comment": f"Made by `launch.py schema` from lm-eval {version}. Do not edit.",
        "description": "lm-evaluation-harness's own arguments.",
        "type": "object",
        "additionalProperties": False,
        "x-renamed": overlay["x-renamed"],
        "properties": dict(sorted(properties.items())),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(build(), ensure_ascii=False), encoding="utf-8")
