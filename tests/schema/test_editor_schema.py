"""schemas/recipe.schema.json: what an editor says of recipes, and that the files are current."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from residency.cli import schema as verb
from residency.cli.main import main
from residency.paths import PROJECT
from residency.recipe import editor_schema, kind_schema

RECIPES = sorted(
    p for p in (PROJECT / "recipes").rglob("*.yaml") if p.parent.name not in ("tasks", "profiles", "prompts")
)


@pytest.fixture(scope="module")
def editor() -> jsonschema.Draft202012Validator:
    schema = json.loads((PROJECT / "schemas" / "recipe.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_shipped_recipes(editor: Any, path: Path) -> None:
    text = path.read_text()
    assert [e.message[:200] for e in editor.iter_errors(yaml.safe_load(text))] == []
    header = text.splitlines()[0]
    assert header.startswith("# yaml-language-server: $schema=")
    target = (path.parent / header.partition("=")[2]).resolve()
    assert target == PROJECT / "schemas" / "recipe.schema.json"


SFT = {
    "kind": "sft",
    "dataset": "${params.dataset}",
    "resources": {"gpus": "${params.gpus}"},
    "llamafactory": {
        "learning_rate": "${params.lr}",
        "template": "${params.template}",
        "bf16": "${params.x}",
    },
    "profiles": {"smoke": {"llamafactory": {"max_steps": 2}}},
}


def test_interpolation_may_stand_for_every_value(editor: Any) -> None:
    assert editor.is_valid(SFT)
    assert editor.is_valid(
        {"kind": "pipeline", "stages": {"a": {**SFT, "needs": ["b"]}, "b": {"recipe": "x.yaml"}}}
    )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("llamafactory", "learning_rate"), "fast"),
        (("llamafactory", "learning_rte"), 1),
        (("llamafactory", "template"), "lama3"),
        (("kind",), "sfft"),
        (("profiles", "smoke", "llamafactory", "max_stpes"), 1),
        (("learning_rate",), 1),
        (("resources", "gpus"), "two"),
    ],
)
def test_mistakes_are_underlined(editor: Any, path: tuple[str, ...], value: Any) -> None:
    recipe = copy.deepcopy(SFT)
    inner: Any = recipe
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert not editor.is_valid(recipe)


def test_plain_llamafactory(editor: Any) -> None:
    plain = {"model_name_or_path": "o/m", "stage": "sft", "dataset": "a", "output_dir": "x"}
    assert editor.is_valid(plain)
    assert not editor.is_valid({**plain, "learning_rte": 1})


def test_every_key_has_a_description() -> None:
    for kind in kind_schema.names():
        described = kind_schema.load(kind)
        assert described is not None
        assert [key for key, value in described["properties"].items() if not value.get("description")] == []


def test_the_editor_schema_is_current() -> None:
    assert json.loads((PROJECT / "schemas" / "recipe.schema.json").read_text()) == editor_schema.build()


def test_sizes() -> None:
    lf, verl = kind_schema.engine("llamafactory"), kind_schema.engine("verl")
    assert len(lf["properties"]) == 343
    assert len(lf["properties"]["template"]["anyOf"][0]["enum"]) > 100

    def leaves(schema: Any) -> int:
        return sum(leaves(value) if "properties" in value else 1 for value in schema["properties"].values())

    assert leaves(verl) == 898 + 9  # nine keys that verl hands on to Ray


@pytest.fixture
def verb_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the schemas, with engines that answer at once from it."""
    import shutil

    shutil.copytree(PROJECT / "schemas", tmp_path / "schemas")
    stored = {
        p.stem.rpartition("-")[0]: json.loads(p.read_text())
        for p in (tmp_path / "schemas/engines").glob("*.json")
    }
    monkeypatch.setattr(verb, "PROJECT", tmp_path)
    monkeypatch.setattr(verb, "SCHEMAS", tmp_path / "schemas")
    monkeypatch.setattr(verb, "generate", lambda engine: copy.deepcopy(stored[engine]))
    (tasks,) = (PROJECT / "schemas/engines").glob("lm_eval-*.tasks.txt")
    monkeypatch.setattr(verb, "_made", lambda engine, module: tasks.read_text())
    versions = {
        p.stem.rpartition("-")[0]: p.stem.rpartition("-")[2]
        for p in (PROJECT / "schemas/engines").glob("*.json")
    }
    monkeypatch.setattr(verb, "_installed", versions.get)
    return tmp_path


def test_check_names_what_drifted(verb_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--check"]) == 0
    path = next((verb_in / "schemas" / "engines").glob("llamafactory-*"))
    stored = json.loads(path.read_text())
    del stored["properties"]["seed"]
    stored["properties"]["bf16"]["default"] = True
    stored["properties"]["old"] = {}
    path.write_text(json.dumps(stored))
    capsys.readouterr()
    assert main(["schema", "--check"]) == 2
    said = capsys.readouterr().out
    assert f"schemas/engines/{path.name}: added seed; removed old; changed bf16" in said
    assert "run `python launch.py schema`" in said
    assert main(["schema"]) == 0
    assert main(["schema", "--check"]) == 0


def test_check_names_what_drifted_in_a_list_of_names(
    verb_in: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = (verb_in / "schemas" / "engines").glob("lm_eval-*.tasks.txt")
    names = path.read_text().split()
    path.write_text("\n".join([*names[:5], *names[6:], "zzz_gone"]) + "\n")
    assert main(["schema", "--check"]) == 2
    said = capsys.readouterr().out
    assert f"schemas/engines/{path.name}: added {names[5]}; removed zzz_gone" in said
    path.unlink()
    assert main(["schema", "--check"]) == 2
    assert f"{path.name}: missing" in capsys.readouterr().out
    assert main(["schema"]) == 0
    assert f"{path.name}: written" in capsys.readouterr().out
    assert path.read_text().split() == names
    assert main(["schema", "--check"]) == 0


def test_an_engine_that_is_not_installed_is_skipped(
    verb_in: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_installed", lambda name: None)
    assert main(["schema", "--check"]) == 0
    assert "skipped verl: it is not installed (make install)" in capsys.readouterr().out


def test_a_kind_is_one_file(tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "schemas"
    shutil.copytree(PROJECT / "schemas", folder)
    own = {"type": "object", "additionalProperties": False, "properties": {"port": {"type": "integer"}}}
    (folder / "kinds" / "serve.json").write_text(json.dumps(own))
    assert "serve" in kind_schema.names(folder)
    described = kind_schema.load("serve", folder)
    assert described is not None
    assert {"kind", "name", "port", "env"} <= set(described["properties"])
    editor = jsonschema.Draft202012Validator(editor_schema.build(folder))
    assert editor.is_valid({"kind": "serve", "port": 80})
    assert editor.is_valid({"kind": "pipeline", "stages": {"a": {"kind": "serve", "port": "${params.p}"}}})
    assert not editor.is_valid({"kind": "pipeline", "stages": {"a": {"kind": "serve", "prt": 80}}})
