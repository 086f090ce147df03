"""The function behind a dotted path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from residency import functions
from residency.errors import RecipeInvalid


def test_found() -> None:
    assert functions.load("os.path.join") is os.path.join
    assert functions.load("pathlib.Path.exists") is Path.exists


@pytest.mark.parametrize(
    "path",
    ["residency.tools.calculator.calc", "residency.nowhere.f", "residency.tools", "nowhere.f", "alone"],
)
def test_no_function(path: str) -> None:
    with pytest.raises(RecipeInvalid, match=f"`{path}` is no function"):
        functions.load(path)


def test_a_module_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wants_another.py").write_text("import no_such_package\n")
    (tmp_path / "broken_module.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(RecipeInvalid, match="importing `wants_another` fails") as found:
        functions.load("wants_another.f")
    assert found.value.hint == "install the package that provides `no_such_package`"
    with pytest.raises(RecipeInvalid, match="importing `broken_module` fails: ZeroDivisionError"):
        functions.load("broken_module.f")
