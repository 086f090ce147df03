"""Writes the JSON Schema of transformers' training arguments, from their own dataclass.

Run in a process of its own: `python -m residency.engines.transformers.schema_source OUT.json`.
`launch.py schema` does so. What the launcher sets itself is left out, with a word on why.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from pathlib import Path
from typing import Any

from residency.engines.dataclass_schema import lay_over, property_schema

DISTRIBUTION = "transformers"
# LLaMA-Factory's arguments hold transformers' own, and their ranges are the same.
OVERLAY = Path(__file__).parents[1] / "llamafactory" / "schema_overlay.json"
PREFIX_HUB = ("hub_", "push_to_hub", "trackio_")
SEVERAL_PROCESSES = ("ddp_", "fsdp", "deepspeed", "parallelism_config", "local_rank", "torchelastic")
SET_BY_US = {
    "output_dir": "the stage has a folder of its own; its result is `outputs.model`",
    "overwrite_output_dir": "the stage has a folder of its own; its result is `outputs.model`",
    "resume_from_checkpoint": "an interrupted stage always goes on from its last whole checkpoint",
    "do_train": "the stage always trains; leave it out",
    "do_eval": "the stage always measures the held-out rows; leave it out",
    "do_predict": "the held-out rows are predicted in any case; leave it out",
    "seed": "it belongs one level up, at the top of the recipe",
    "label_names": "the label is the column that `columns.label` names",
    "remove_unused_columns": "the columns are those that `columns` names",
    "include_for_metrics": "the stage measures with code of its own",
    "batch_eval_metrics": "the stage measures with code of its own",
    "debug": "leave it out",
    "save_only_model": "an interrupted stage goes on from its checkpoints, which must be whole",
}


def build() -> dict[str, Any]:
    """The schema of the keys under `training:`."""
    import transformers
    from transformers import TrainingArguments

    hints = typing.get_type_hints(TrainingArguments)
    hidden = (*PREFIX_HUB, *SEVERAL_PROCESSES)
    properties = {
        item.name: property_schema(item, hints[item.name], TrainingArguments.__name__)
        for item in dataclasses.fields(TrainingArguments)
        if item.init and item.name not in SET_BY_US and not item.name.startswith(hidden)
    }
    overlay = json.loads(OVERLAY.read_text(encoding="utf-8"))
    for name, extra in overlay["properties"].items():
        if name in properties:
            lay_over(properties[name], extra)
    renamed = {
        old: new
        for old, new in overlay["x-renamed"].items()
        if old not in properties and (new in properties or " " in new)
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"transformers {transformers.__version__}",
        "$comment": f"Made by `launch.py schema` from transformers {transformers.__version__}. Do not edit.",
        "description": "transformers' own training arguments.",
        "type": "object",
        "additionalProperties": False,
        "x-renamed": {**renamed, **SET_BY_US},
        "properties": dict(sorted(properties.items())),
    }


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(build(), ensure_ascii=False, default=str), encoding="utf-8")
