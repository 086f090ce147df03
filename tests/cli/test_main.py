from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from residency.cli.main import VERBS, main

PROJECT = Path(__file__).resolve().parents[2]


def launch(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(PROJECT / "launch.py"), *arguments],
        cwd=cwd or PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)


def test_without_arguments_it_says_how_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python launch.py RECIPE" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main([verb, "--help"])
    assert left.value.code == 0
    assert f"launch.py {verb}" in capsys.readouterr().out


def test_a_mistyped_verb_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chek", "x.yaml"]) == 2
    assert "did you mean `check`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["r.yaml", "--dryrun"], "did you mean --dry-run?"),
        (["check", "r.yaml", "--porfile=smoke"], "did you mean --profile?"),
        (["plan", "r.yaml", "--zzz"], "plan --help"),
        (["r.yaml", "more"], "takes no `more`"),
        (["r.yaml", ""], "takes no ``"),
    ],
)
def test_an_option_that_there_is_not(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_mirror_that_is_not_there(
    by: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "r.yaml").write_text("kind: export\nmodel: org/model\n")
    # Set, so that what the command line sets is undone after the test.
    monkeypatch.setenv("RESIDENCY_MIRROR", str(tmp_path / "none") if by == "variable" else "")
    option = ["--mirror", str(tmp_path / "none")] if by == "option" else []
    assert main(["check", str(tmp_path / "r.yaml"), *option]) == 3
    assert f"the mirror {tmp_path / 'none'} is not a folder" in capsys.readouterr().err


def test_a_file_name_that_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("RESIDENCY_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rows.jsonl").write_text('{"a": 1}\n')
    name = os.fsdecode(b"odd-\xff.yaml")
    (tmp_path / name).write_text("kind: data\nsources: {r: {url: rows.jsonl}}\ndatasets: {d: {from: r}}\n")
    done = launch(name, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2)
    assert done.returncode == 0 or "odd-\\xff" in done.stderr


def test_a_terminal_without_utf8(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("kind: export\nmodel: org/mödel\nadaptör: x\n", encoding="utf-8")
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [sys.executable, str(PROJECT / "launch.py"), "check", str(tmp_path / "r.yaml")],
        env=ascii_only,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"unknown key `adapt?r`" in done.stdout


def test_a_recipe_that_is_not_there_is_said_without_a_traceback() -> None:
    done = launch("recipes/quikstart.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "quikstart.yaml" in done.stderr
    assert "recipes/quickstart.yaml" in done.stderr


def test_check_as_json(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("kind: export\nmodel: org/model\nadaptor: org/lora\n")
    done = launch("check", str(recipe), "--format", "json")
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert said["ok"] is False
    (found,) = said["diagnostics"]
    assert found == {
        "file": str(recipe),
        "line": 3,
        "column": 1,
        "end_column": 8,
        "severity": "error",
        "code": "unknown-key",
        "message": found["message"],
        "hint": found["hint"],
    }
    assert "adapter" in found["hint"]


def test_check_of_a_right_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("kind: export\nmodel: org/model\n")
    done = launch("check", str(recipe), str(recipe))
    assert (done.returncode, done.stdout) == (0, "no mistakes found in 2 recipes\n")
    assert json.loads(launch("check", str(recipe), "--format", "json").stdout) == {
        "ok": True,
        "diagnostics": [],
    }


def test_check_shows_the_line_with_a_caret(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("kind: export\nmodel: org/model\nadaptor: org/lora\n")
    done = launch("check", "r.yaml", cwd=tmp_path)
    assert "r.yaml:3:1" in done.stdout
    assert "adaptor: org/lora" in done.stdout
    assert "^^^^^^^" in done.stdout


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} launch.py --help | true", shell=True, cwd=PROJECT, capture_output=True, timeout=60
    )
    assert b"Traceback" not in done.stderr
