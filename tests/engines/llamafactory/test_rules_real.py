"""The rules against LLaMA-Factory's own parser: what it refuses is found, what it takes is left alone."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rule_cases import BASE, CASES, GOOD

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llamafactory") is None, reason="llamafactory is not installed"
    ),
]


def settings(text: str) -> dict[str, Any]:
    return {**BASE, **(yaml.safe_load(text) or {})}


def test_what_llamafactory_refuses(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "model.safetensors").touch()
    texts = [case.text for case in CASES] + GOOD
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("parse_all.py"))],
        input=json.dumps([settings(text) for text in texts]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    wrong = []
    for case, answer in zip(CASES, said, strict=False):
        if (answer is not None) != case.refused:
            wrong.append(f"{case.text!r}: {answer}")
    for text, answer in zip(GOOD, said[len(CASES) :], strict=True):
        if answer is not None:
            wrong.append(f"good {text!r}: {answer}")
    assert not wrong, "\n".join(wrong)
