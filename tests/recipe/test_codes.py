"""residency.recipe.codes"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from residency.recipe.codes import CODES, EXAMPLES, table

PROJECT = Path(__file__).resolve().parents[2]


def used(folder: Path) -> Iterator[tuple[str, str]]:
    """Every code that a call under `folder` reports, with its place."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            codes: list[ast.expr] = []
            if name in ("add", "Failed") and len(node.args) >= 2:
                codes.append(node.args[0])
            codes += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
            for code in codes:
                for option in (code.body, code.orelse) if isinstance(code, ast.IfExp) else (code,):
                    value = option.value if isinstance(option, ast.Constant) else None
                    if isinstance(value, str) and re.fullmatch("[a-z]+(-[a-z0-9]+)*", value):
                        yield value, f"{path.relative_to(PROJECT)}:{node.lineno}"


def test_every_code_that_is_reported_is_listed() -> None:
    found = list(used(PROJECT / "residency"))
    assert len(found) > 50
    assert [(code, place) for code, place in found if code not in CODES] == []


def test_every_code_that_is_listed_can_be_reported() -> None:
    files = [path for path in (PROJECT / "residency").rglob("*.py") if path.name != "codes.py"]
    files += (PROJECT / "schemas").rglob("*.json")
    files += (PROJECT / "residency").rglob("*.json")
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert [code for code in CODES if f'"{code}"' not in text] == []


def test_the_page_is_the_registry() -> None:
    page = (PROJECT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    assert page == table(), "run python -m residency.recipe.codes > docs/diagnostics.md"


def test_each_code_has_a_meaning_and_an_example() -> None:
    assert set(CODES) == set(EXAMPLES)
    assert all(
        meaning.endswith(".") and example
        for meaning, example in zip(CODES.values(), EXAMPLES.values(), strict=True)
    )
    assert list(CODES) == sorted(CODES)
