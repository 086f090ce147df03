"""Nothing that `check` and `plan` need may import an engine or another heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
HEAVY = (
    "torch",
    "transformers",
    "ray",
    "verl",
    "llamafactory",
    "lm_eval",
    "datasets",
    "pandas",
    "numpy",
    "peft",
    "faiss",
    "bm25s",
    "sentence_transformers",
)
LIGHT_PACKAGES = ("recipe", "plan", "cli", "stages", "rewards")


def modules(package: str) -> list[str]:
    folder = PROJECT / "residency" / package
    return sorted(
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__")
        for path in folder.rglob("*.py")
        if path.name != "main.py" or package == "cli"
    )


@pytest.mark.parametrize("package", LIGHT_PACKAGES)
def test_no_heavy_import(package: str) -> None:
    names = modules(package)
    assert names
    code = (
        f"import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        f"print(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"importing residency.{package} imports {done.stdout.strip()}"


def test_layers_know_only_those_below() -> None:
    """recipe < sources < pubmed < rows < contamination < rewards < retrieval < endpoint < engines < benchmark
    < stages < plan < run < report < cli."""
    order = [
        "recipe",
        "sources",
        "pubmed",
        "rows",
        "contamination",
        "rewards",
        "retrieval",
        "endpoint",
        "engines",
        "benchmark",
        "stages",
        "plan",
        "run",
        "report",
        "cli",
    ]
    wrong = []
    for level, package in enumerate(order):
        for path in (PROJECT / "residency" / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for above in order[level + 1 :]:
                if f"residency.{above}" in "\n".join(
                    line for line in text.splitlines() if line.lstrip().startswith(("import ", "from "))
                ):
                    wrong.append(f"{path.relative_to(PROJECT)} imports residency.{above}")
    assert wrong == []
