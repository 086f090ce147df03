"""residency.recipe.load, kinds, plain_llamafactory"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from residency.recipe import kinds
from residency.recipe.load import load
from residency.recipe.nodes import at, key_span, plain

Load = Callable[..., Any]
PROJECT = Path(__file__).resolve().parents[2]

PLAIN = """\
### model
model_name_or_path: org/model
trust_remote_code: yes

### method
stage: sft
do_train: on
finetuning_type: lora
dataset: identity,alpaca_en_demo
learning_rate: 1e-4
cutoff_len: 2_048
output_dir: saves/x
ddp_timeout: 180000000
resume_from_checkpoint: null
seed: 010
template: 'on'
"""


def test_kind_and_name(load_files: Load) -> None:
    loaded = load_files({"some/thing.yaml": "kind: export\nmodel: org/model\n"})
    assert (loaded.recipe.kind, loaded.recipe.name, loaded.recipe.path.name) == (
        "export",
        "thing",
        "thing.yaml",
    )
    assert loaded.recipe.path.is_absolute()
    assert load_files("kind: export\nname: x\n").recipe.name == "x"
    assert load_files("kind: export\nname: ${params.n}-y\nparams: {n: x}\n").recipe.name == "x-y"


@pytest.mark.parametrize(
    ("text", "code", "line", "hint", "usable"),
    [
        ("kind: sftt\nllamafactory: {stage: sft}\n", "unknown-kind", 1, "did you mean `sft`?", True),
        ("kind: sfx\ndataset: x\n", "unknown-kind", 1, "did you mean `sft`?", False),
        ("kind: 3\n", "unknown-kind", 1, "the kinds are", False),
        ("kind: [sft]\n", "unknown-kind", 1, "the kinds are", False),
        ("knid: sft\nname: x\n", "missing-kind", 1, "did you mean `kind` by `knid`?", False),
        ("name: x\n", "missing-kind", 1, "the kinds are `data`, `evaluate`", False),
        ("stages: {}\n", "missing-kind", 1, "did you mean `kind: pipeline`?", True),
        ("llamafactory: {stage: sft}\n", "missing-kind", 1, "did you mean `kind: sft`?", True),
    ],
)
def test_a_kind_must_be_said(
    load_files: Load, text: str, code: str, line: int, hint: str, usable: bool
) -> None:
    loaded = load_files(text)
    assert [(d.code, d.span.line) for d in loaded.found] == [(code, line)]
    assert hint in loaded.found.items[0].hint
    assert (loaded.recipe is not None) == usable


def test_the_kinds_are_those_with_a_schema() -> None:
    assert {"data", "evaluate", "export", "pipeline", "sft"} <= set(kinds.names())
    keys = kinds.keys("evaluate")
    assert keys is not None
    assert {"tasks", "limit", "resources"} <= keys
    assert kinds.keys("nothing") is None


def test_a_plain_llamafactory_file_is_read_as_it_reads_it(load_files: Load, tmp_path: Path) -> None:
    loaded = load_files({"train.yaml": PLAIN})
    assert loaded.found.items == []
    assert (loaded.recipe.kind, loaded.recipe.name, loaded.recipe.plain_llamafactory) == (
        "sft",
        "train",
        True,
    )
    expected = OmegaConf.to_container(OmegaConf.load(tmp_path / "train.yaml"))
    assert loaded.config == {"kind": "sft", "llamafactory": expected}
    assert expected["do_train"] is True
    assert expected["learning_rate"] == 1e-4
    assert key_span(loaded.recipe.tree, ("llamafactory", "learning_rate")).line == 10
    assert at(loaded.recipe.tree, ("llamafactory", "template")).span.column == 11


def test_a_plain_file_takes_set_and_profiles(load_files: Load) -> None:
    loaded = load_files(
        {"train.yaml": PLAIN, "shared/smoke.yaml": "llamafactory: {max_steps: 2}\nresources: {gpus: 0}\n"},
        profiles=("smoke",),
        overrides=("learning_rate=1e-5", "llamafactory.seed=7", "dataset=other", "name=mine"),
    )
    assert loaded.found.items == []
    block = loaded.config["llamafactory"]
    assert (block["learning_rate"], block["seed"], block["dataset"], block["max_steps"]) == (
        1e-5,
        7,
        "other",
        2,
    )
    assert loaded.recipe.name == "mine"
    assert loaded.config["resources"] == {"gpus": 0}


def test_a_plain_file_can_be_extended(load_files: Load) -> None:
    loaded = load_files(
        {"r.yaml": "kind: sft\nextends: train.yaml\nllamafactory: {seed: on}\n", "train.yaml": PLAIN}
    )
    assert loaded.found.items == []
    # What the recipe itself says is YAML 1.2.
    assert loaded.config["llamafactory"]["seed"] == "on"
    assert loaded.config["llamafactory"]["do_train"] is True
    assert not loaded.recipe.plain_llamafactory


def test_a_plain_file_keeps_interpolations_with_a_warning(load_files: Load) -> None:
    loaded = load_files("stage: sft\noutput_dir: ${HOME}/x\n")
    assert [(d.code, d.severity, d.span.line) for d in loaded.found] == [
        ("literal-interpolation", "warning", 2)
    ]
    assert loaded.config["llamafactory"]["output_dir"] == "${HOME}/x"


def test_an_engines_block_keeps_yaml_1_2(load_files: Load) -> None:
    loaded = load_files("kind: sft\nllamafactory: {a: on, b: 1e-4, c: 1_000, d: 010, actor.optim.lr: 1e-6}\n")
    assert loaded.config["llamafactory"] == {
        "a": "on",
        "b": 1e-4,
        "c": "1_000",
        "d": 10,
        "actor.optim.lr": 1e-6,
    }


def test_an_overlay_wins_over_profiles_and_set_over_it(load_files: Load) -> None:
    from residency.recipe.diagnostics import Diagnostics
    from residency.recipe.yaml_reader import read

    overlay = read(
        b"resources: {gpus: 2}\nllamafactory: {a: overlay, b: overlay}\n", "pipeline.yaml", Diagnostics()
    )
    before = plain(overlay)  # type: ignore[arg-type]
    loaded = load_files(
        "kind: sft\nllamafactory: {a: 0, b: 0, c: 0}\nprofiles: {p: {llamafactory: {a: p, c: p}}}\n",
        profiles=("p",),
        overlay=overlay,
        overrides=("llamafactory.b=set",),
    )
    assert loaded.config == {
        "kind": "sft",
        "llamafactory": {"a": "overlay", "b": "set", "c": "p"},
        "resources": {"gpus": 2},
    }
    assert plain(overlay) == before  # type: ignore[arg-type]


def test_a_missing_file_and_a_folder(load_files: Load, tmp_path: Path) -> None:
    load_files({"recipes/quick.yaml": "kind: export\n"})
    for name, message, hint in [
        ("recipes/quikc.yaml", "there is no file `recipes/quikc.yaml`", "did you mean `recipes/quick.yaml`?"),
        (
            "recpies/quick.yaml",
            "there is no file `recpies/quick.yaml`",
            "there is no folder `recpies` either",
        ),
        ("recipes", "`recipes` is a folder, not a recipe", "it holds `quick.yaml`"),
    ]:
        recipe, found = load(Path(name), cwd=tmp_path)
        assert recipe is None
        assert [(d.code, d.message, d.hint) for d in found] == [("missing-file", message, hint)]


def test_paths_start_where_the_command_was_given(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("kind: export\nname: [\n")
    recipe, found = load(Path("r.yaml"), cwd=tmp_path)
    assert recipe is None
    assert [d.span.file for d in found] == ["r.yaml"]


def test_what_is_wrong_leaves_a_recipe_to_check_further(load_files: Load) -> None:
    loaded = load_files(
        "kind: sft\nname: a\nname: b\nllamafactory: {x: '${no.such}', y: 1}\nparams: {p: {type: string}}\n",
        profiles=("nope",),
        overrides=("x",),
    )
    assert sorted(loaded.codes) == [
        "bad-override",
        "duplicate-key",
        "missing-param",
        "undefined-interpolation",
        "unknown-profile",
    ]
    assert loaded.config == {"kind": "sft", "name": "a", "llamafactory": {"x": "${no.such}", "y": 1}}


pieces = st.sampled_from(
    [
        "kind: sft\n", "kind: pipeline\n", "name: x\n", "params: {a: 1}\n", "params:\n", "a: ${params.a}\n",
        "b: ${b}\n", "extends: r.yaml\n", "extends: [x]\n", "profiles: {p: {a: 2}}\n", "? \n",
        "stages:\n  s: {recipe: r.yaml}\n", "stages: {s: {kind: sft, needs: [s]}}\n",
        "x: &a [1]\n", "y: *a\n",
        "z: {<<: *a}\n", "\t", "- q\n", "env: ${secret:X}\n", "c: \"${a\"\n", "stage: sft\n", "é: ⟦\n",
        "llamafactory: {x: ${y}}\n", "w: ${stages.s.outputs.o}\n",
    ]
)  # fmt: skip
overrides = st.lists(
    st.sampled_from(["a=1", "params.a=x", "a.b=2", "stages.s.x=1", "x.0=2", "=", "y", "kind=data"]),
    max_size=2,
)


@given(
    st.one_of(st.binary(max_size=120), st.lists(pieces, max_size=8).map(lambda p: "".join(p).encode())),
    overrides,
)
@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_makes_it_fail(tmp_path: Path, data: bytes, sets: list[str]) -> None:
    from residency.recipe.pipeline import expand
    from residency.recipe.render import render

    (tmp_path / "r.yaml").write_bytes(data)
    recipe, found = load(
        Path("r.yaml"), cwd=tmp_path, profiles=("p",), overrides=sets, kinds=("sft", "pipeline", "data")
    )
    assert recipe is not None or not found.ok
    if recipe is not None and recipe.kind == "pipeline":
        found.extend(expand(recipe, profiles=("p",), cwd=tmp_path, kinds=("sft", "pipeline", "data"))[-1])
    assert render(found, color=True)


def test_a_pipeline_of_1000_lines_is_loaded_fast(load_files: Load) -> None:
    stages = "".join(
        f"""  s{i}:
    kind: sft
    dataset: ${{stages.s{max(0, i - 1)}.outputs.model}}
    llamafactory:
      model_name_or_path: ${{params.model}}
      learning_rate: 1e-4
      output_dir: out/${{params.model}}/{i}
      lora_rank: 8
      template: smollm2
      seed: 7
"""
        for i in range(1, 100)
    )
    text = f"kind: pipeline\nparams: {{model: m}}\nstages:\n  s0: {{kind: sft}}\n{stages}"
    assert 990 < text.count("\n") < 1010
    started = time.perf_counter()
    loaded = load_files(text)
    seconds = time.perf_counter() - started
    assert loaded.found.items == []
    assert len(loaded.stages) == 100
    assert seconds < 3.0  # About 0.1 s on a quiet core.


def test_importing_it_is_cheap() -> None:
    code = (
        "import sys, residency.recipe.load, residency.recipe.pipeline, residency.recipe.render\n"
        "heavy = ('omegaconf', 'antlr4', 'jsonschema', 'rich', 'difflib', 'numpy', 'torch')\n"
        "print(','.join(m for m in heavy if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == ""
