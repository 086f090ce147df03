"""A change waits for its module."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from residency.engines.verl.driver.hooks import when_imported


def test_a_change_waits_for_the_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hooked_module.py").write_text("value = 1\ndef double(): return 2 * value\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    seen: list[int] = []

    def change(module: ModuleType) -> None:
        seen.append(module.value)
        module.value = 21

    when_imported("hooked_module", change)
    assert "hooked_module" not in sys.modules
    assert seen == []
    import hooked_module

    assert seen == [1]
    assert hooked_module.double() == 42
    assert type(hooked_module.__loader__).__name__ == "SourceFileLoader"
    when_imported("hooked_module", change)  # it is there: at once
    assert seen == [1, 21]


def test_a_module_that_is_not_there_is_still_not_there() -> None:
    when_imported("no_such_module_at_all", lambda module: None)
    with pytest.raises(ModuleNotFoundError):
        import no_such_module_at_all  # noqa: F401
