"""The files and settings of a stage with tools, and what the model is told."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from residency.engines.verl import tool_schemas, tools
from residency.errors import RecipeInvalid

CALCULATOR = "residency.tools.calculator.calculate"
PROJECT = Path(__file__).resolve().parents[3]


def search(query: str, k: int = 3, how: Literal["bm25", "dense"] | None = None, ids: list[int] | None = None):
    """Look for abstracts.

    Args:
        query: What to look for.
        k: How many.
        how: The index.
        ids: PMIDs to leave out.
    """


def anything(value: Any) -> str:
    """Take it.

    Args:
        value: Any value.
    """


def untold(value: str) -> str:
    return value


def test_a_stage_without_tools_gets_nothing(tmp_path: Path) -> None:
    assert tools.files({}) == {}
    assert tools.settings({"tools": []}, tmp_path) == {}


def test_settings_are_verl_keys_and_name_files_that_are_written(tmp_path: Path) -> None:
    config = {"tools": [CALCULATOR]}
    files = tools.files(config)
    given = tools.settings(config, tmp_path)
    paths = [Path(value) for key, value in given.items() if key.endswith("_path")]
    assert sorted(path.name for path in paths) == sorted(files)
    assert all(path.is_absolute() for path in paths)
    import importlib.util

    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("verl is not installed")
    folder = Path(spec.submodule_search_locations[0])
    tree = yaml.safe_load((folder / "trainer/config/_generated_ppo_trainer.yaml").read_text())
    for key in given:
        below = tree
        for part in key.split("."):
            assert part in below, key
            below = below[part]


def test_the_file_registers_each_tool() -> None:
    written = tools.files({"tools": [CALCULATOR, "rewards.x.y"]})[tools.FILE]
    calls = [n for n in ast.walk(ast.parse(written)) if isinstance(n, ast.Call)]
    assert [ast.literal_eval(call.args[0]) for call in calls] == [CALCULATOR, "rewards.x.y"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "says"), [("untold", "docstring"), ("anything", "`value` of the tool .* no one JSON type")]
)
def test_tools_that_cannot_be_told(name: str, says: str) -> None:
    with pytest.raises(RecipeInvalid, match=says):
        tool_schemas.schema(f"{__name__}.{name}")


@pytest.mark.slow
def test_the_model_is_told_what_verl_tells_it(tmp_path: Path) -> None:
    """The prompts are measured with these schemas, so they must be those of the rollout."""
    pytest.importorskip("verl")
    (tmp_path / "tools.py").write_text(tools.files({"tools": [CALCULATOR, "toolbox.search"]})[tools.FILE])
    text = Path(__file__).read_text()
    body = text[text.index("def search") : text.index("def anything")]
    (tmp_path / "toolbox.py").write_text("from typing import Literal\n\n" + body)
    code = (
        "import asyncio, json\n"
        "from verl.tools.tool_registry import load_all_tools\n"
        "from residency.engines.verl.tool_schemas import schemas\n"
        "found = load_all_tools(None, 'tools.py')\n"
        "told = [t.tool_schema.model_dump(exclude_unset=True, exclude_none=True) for t in found]\n"
        f"ours = schemas([{CALCULATOR!r}, 'toolbox.search'])\n"
        "assert json.dumps(told) == json.dumps(ours), (told, ours)\n"
        "from verl.tools.function_tool import _build_schema_from_fn\n"
        "import toolbox\n"
        "theirs = _build_schema_from_fn(toolbox.search, 'search')\n"
        "assert json.dumps(theirs.model_dump(exclude_unset=True, exclude_none=True)) == json.dumps(ours[1])\n"
        "print(asyncio.run(found[0].call({'expression': '6 * 7'})), [t.is_async for t in found])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{PROJECT}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("42 [True, True]")
