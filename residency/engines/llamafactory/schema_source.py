"""Writes the JSON Schema of LLaMA-Factory's `train` keys, from its own argument dataclasses.

Run in a process of its own, since it imports llamafactory (and so torch): `python -m
residency.engines.llamafactory.schema_source OUT.json`. `launch.py schema` does so.
"""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

from residency.engines.dataclass_schema import lay_over, lay_over_all, property_schema

DISTRIBUTION = "llamafactory"
OVERLAY = Path(__file__).with_name("schema_overlay.json")
"""What the dataclasses do not say: ranges, keys that take a list, old names of keys."""


def build() -> dict[str, Any]:
    """The schema of one YAML for `llamafactory-cli train`."""
    _stand_in_for_torchaudio()
    import transformers
    from llamafactory.data.template import TEMPLATES
    from llamafactory.extras.env import VERSION
    from llamafactory.hparams.parser import _TRAIN_ARGS

    properties: dict[str, dict[str, Any]] = {}
    for cls in _TRAIN_ARGS:
        hints = typing.get_type_hints(cls)
        for item in dataclasses.fields(cls):
            # A field without `init` is derived; as a key it is refused.
            if item.init and item.name not in properties:
                properties[item.name] = property_schema(item, hints[item.name], cls.__name__)
    lay_over(properties["template"], {"anyOf": [{"enum": sorted(TEMPLATES)}, {"type": "null"}]})
    overlay = json.loads(OVERLAY.read_text(encoding="utf-8"))
    lay_over_all(properties, overlay["properties"], f"llamafactory {VERSION}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"LLaMA-Factory {VERSION}",
        "$comment": f"Made by `launch.py schema` from llamafactory {VERSION} and transformers "
        f"{transformers.__version__}. Do not edit.",
        "description": "LLaMA-Factory's own keys, as in a YAML for `llamafactory-cli train`.",
        "type": "object",
        "additionalProperties": False,
        "x-renamed": {old: new for old, new in overlay["x-renamed"].items() if old not in properties},
        "required": overlay["required"],
        "properties": dict(sorted(properties.items())),
    }


def _stand_in_for_torchaudio() -> None:
    """LLaMA-Factory imports torchaudio though text never needs it; on a CPU it may be absent."""
    if importlib.util.find_spec("torchaudio") is None:
        module = types.ModuleType("torchaudio")
        module.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = module


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(build(), ensure_ascii=False, default=str), encoding="utf-8")
