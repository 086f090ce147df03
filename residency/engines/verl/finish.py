"""The last checkpoint as an ordinary Hugging Face model, loaded once before the stage counts as done."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from residency.engines import hf_folder
from residency.engines.verl import checkpoints, places
from residency.errors import StageFailed
from residency.files import read_json, write_json

MARK = "residency.json"
"""In outputs/model: the step that it is of."""
NO_NUMBERS = 5
"""How driver/merge.py ends where the weights are no numbers."""


def merged(folder: Path, steps: int) -> bool:
    """True when outputs/model is whole and of that step."""
    target = folder / "outputs" / "model"
    try:
        said = read_json(target / MARK)
        if not isinstance(said, dict) or said.get("step") != steps:
            return False
        hf_folder.check_model(target)
    except (StageFailed, ValueError):
        return False
    return True


def merge(stage: Mapping[str, Any], folder: Path, steps: int) -> None:
    """Merge the shards of the last checkpoint into outputs/model, and load it once.

    Raises:
        StageFailed: it cannot be merged, or what came out does not load or holds a value that is no number.
    """
    last = checkpoints.newest(folder / places.CHECKPOINTS)
    if last is None or last.step < steps:
        raise StageFailed(f"there is no checkpoint of step {steps:,}")
    target = folder / "outputs" / "model"
    part = target.parent / ".model.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    argv = [sys.executable, "-m", "residency.engines.verl.driver.merge", str(last.path / "actor"), str(part)]
    argv.append(str(stage["model"]))
    code = subprocess.run(argv, cwd=folder, env={**os.environ, **stage["env"]}, check=False).returncode
    if code == NO_NUMBERS:
        raise StageFailed(
            "the trained model holds values that are not numbers",
            "the training has diverged: lower the learning rate, or clip the gradient more",
        )
    if code != 0:
        raise StageFailed("the last checkpoint could not be made a model", "see log.txt")
    hf_folder.check_model(part)
    write_json(part / MARK, {"step": last.step, **json.loads((part / "loaded.json").read_text())})
    (part / "loaded.json").unlink()
    shutil.rmtree(target, ignore_errors=True)
    part.replace(target)
