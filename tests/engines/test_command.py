"""The main function of a command of our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from residency.engines.command import run_stage
from residency.errors import Missing


def test_runs_the_file_and_tells_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "stage.yaml"
    path.write_text("a: 1\n")
    seen: list[tuple[Mapping[str, Any], Path]] = []
    assert run_stage([str(path)], lambda *given: seen.append(given)) == 0
    assert seen == [({"a": 1}, tmp_path)]

    def missing(*_: Any) -> None:
        raise Missing("no tool", "make install")

    assert run_stage([str(path)], missing) == Missing.exit_code
    assert capsys.readouterr().out == "error: no tool\nhint: make install\n"

    def locked(*_: Any) -> None:
        Path(tmp_path).read_bytes()

    assert run_stage([str(path)], locked) == 4
    assert capsys.readouterr().out == f"error: Is a directory: {tmp_path}\n"

    def hub(*_: Any) -> None:
        raise OSError("a library's own words")

    with pytest.raises(OSError, match="own words"):  # the log's traceback tells more
        run_stage([str(path)], hub)
