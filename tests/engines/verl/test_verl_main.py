"""The stage's command, as far as it goes without verl."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from residency.engines.verl import main


def test_a_cluster_that_is_not_there_ends_it_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "stage.yaml").write_text(yaml.safe_dump({"joins": "127.0.0.1:1"}))
    assert main.main([str(tmp_path / "stage.yaml")]) == 3
    said = capsys.readouterr().out
    assert said.startswith("error: there is no Ray cluster at 127.0.0.1:1")
    assert "hint: " in said
