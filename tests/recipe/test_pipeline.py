"""residency.recipe.pipeline"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from residency.recipe.nodes import at
from residency.recipe.pipeline import needs

Load = Callable[..., Any]

PIPELINE = """
kind: pipeline
name: doctor
params: {model: org/base, steps: 100}
stages:
  after:
    recipe: ../evaluate/qa.yaml
    with: {model: "${stages.sft.outputs.model}"}
  sft:
    recipe: sft.yaml
    with: {model: "${params.model}", data: "${stages.data.outputs.train}"}
    llamafactory: {max_steps: "${params.steps}"}
    resources: {gpus: 1}
  data:
    kind: data
    sources: {a: {url: "https://example.org/${params.model}"}}
  before:
    recipe: ../evaluate/qa.yaml
    with: {model: "${params.model}"}
    needs: [data]
profiles:
  smoke: {params: {steps: 1}}
"""
SFT = """
kind: sft
params: {model: {type: string}, data: {type: string}}
dataset: ${params.data}
llamafactory: {model_name_or_path: "${params.model}", lora_rank: 8, output_dir: "x/${.lora_rank}"}
profiles:
  smoke: {llamafactory: {max_steps: 3, lora_rank: 2}}
  child: {llamafactory: {lora_rank: 4}}
"""
QA = """
kind: evaluate
params: {model: other}
model: ${params.model}
tasks: [qa]
env: {TOKEN: "${secret:TOKEN}"}
"""
FILES = {"p/main.yaml": PIPELINE, "p/sft.yaml": SFT, "evaluate/qa.yaml": QA}


def test_each_stage_is_a_recipe(load_files: Load) -> None:
    loaded = load_files(FILES)
    assert loaded.found.items == []
    assert list(loaded.stages) == ["data", "sft", "after", "before"]
    sft = loaded.stages["sft"]
    assert sft.config == {
        "kind": "sft",
        "dataset": "⟦stages.data.outputs.train⟧",
        "llamafactory": {
            "model_name_or_path": "org/base",
            "lora_rank": 8,
            "output_dir": "x/8",
            "max_steps": 100,
        },
        "resources": {"gpus": 1},
    }
    assert sft.params["data"] == "⟦stages.data.outputs.train⟧"
    assert (sft.folder.name, loaded.stages["after"].folder.name) == ("p", "evaluate")
    assert loaded.stages["data"].path == loaded.recipe.path
    assert {name: needs(stage) for name, stage in loaded.stages.items()} == {
        "data": set(),
        "sft": {"data"},
        "after": {"sft"},
        "before": {"data"},
    }
    assert [name for name, stage in loaded.stages.items() if stage.name == "data"] == ["data"]


def test_a_value_that_is_passed_points_into_the_pipeline(load_files: Load) -> None:
    loaded = load_files(FILES)
    node = at(loaded.stages["sft"].tree, ("dataset",))
    assert (node.span.file, node.span.line) == ("p/main.yaml", 10)
    assert (node.via.file, node.via.line) == ("p/sft.yaml", 3)


def test_profiles_reach_the_recipes(load_files: Load) -> None:
    loaded = load_files(FILES, profiles=("smoke",))
    assert loaded.found.items == []
    # The pipeline's own word (max_steps) wins over the recipe's profile.
    assert loaded.stages["sft"].config["llamafactory"]["max_steps"] == 1
    assert loaded.stages["sft"].config["llamafactory"]["lora_rank"] == 2
    child = load_files(FILES, profiles=("child",))
    assert child.found.items == []
    assert child.stages["sft"].config["llamafactory"]["lora_rank"] == 4
    wrong = load_files(FILES, profiles=("smokee",))
    assert [(d.code, d.hint) for d in wrong.found] == [("unknown-profile", "did you mean `smoke`?")]


def test_set_reaches_a_stage(load_files: Load) -> None:
    loaded = load_files(FILES, overrides=("stages.sft.llamafactory.max_steps=7", "stages.sft.with.model=x"))
    assert loaded.found.items == []
    assert loaded.stages["sft"].config["llamafactory"]["max_steps"] == 7
    assert loaded.stages["sft"].config["llamafactory"]["model_name_or_path"] == "x"


def stages(body: str) -> str:
    return "kind: pipeline\nstages:\n" + body


@pytest.mark.parametrize(
    ("body", "line", "code", "message"),
    [
        ("  a: {kind: sft, x: '${stages.b.outputs.o}'}\n", 3, "unknown-stage", "there is no stage `b`"),
        ("  a: {kind: sft, needs: [b]}\n", 3, "unknown-stage", "there is no stage `b`"),
        ("  a: {kind: sft, needs: 3}\n", 3, "wrong-type", "`needs` must be a list"),
        ("  a: {kind: sft, x: '${stages.a.outputs.o}'}\n", 3, "circular-stages", "stage `a` needs itself"),
        ("  a: {kind: sft, needs: [a]}\n", 3, "circular-stages", "stage `a` needs itself"),
        (
            "  a: {kind: sft, needs: [b]}\n  b: {kind: sft, x: '${stages.c.outputs.o}'}\n"
            "  c: {kind: sft, needs: [a]}\n",
            3,
            "circular-stages",
            "stages need one another in a circle: a → b → c → a",
        ),
        ("  a: {x: 1}\n", 3, "missing-key", "names no `recipe`"),
        ("  a: 3\n", 3, "wrong-type", "must be a mapping"),
        ("  a.b: {kind: sft}\n", 3, "bad-key", "no name for a stage"),
        ("  a: {recipe: chlid.yaml}\n", 3, "missing-file", "there is no file `chlid.yaml`"),
        ("  a: {recipe: [x]}\n", 3, "wrong-type", "name of a file"),
        ("  a: {recipe: child.yaml, with: 3}\n", 3, "wrong-type", "`with` must be a mapping"),
        ("  a: {recipe: child.yaml, with: {modle: x}}\n", 3, "unknown-param", "no parameter `modle`"),
        ("  a: {recipe: child.yaml, with: {n: x}}\n", 3, "wrong-type", "takes a whole number"),
        ("  a: {recipe: needy.yaml}\n", 3, "missing-param", "`model` has no value"),
        ("  a: {recipe: inner.yaml}\n", 3, "no-stages", "only in a pipeline"),
        ("  a: {kind: sft, x: '${stages.a}'}\n", 3, "undefined-interpolation", "names no output"),
        ("  a: {kind: sft, x: '${stages.a.outputs}'}\n", 3, "undefined-interpolation", "names no output"),
        ("  a: {kind: sft, x: '${secret:T}'}\n", 3, "secret-outside-env", "only under `env:`"),
        ("  a: {kind: sftt, x: 1}\n", 3, "unknown-kind", "no kind of recipe"),
    ],
)
def test_mistakes(load_files: Load, body: str, line: int, code: str, message: str) -> None:
    loaded = load_files(
        {
            "main.yaml": stages(body),
            "child.yaml": "kind: sft\nparams: {model: m, n: 3}\n",
            "needy.yaml": "kind: sft\nparams: {model: {type: string}}\n",
            "inner.yaml": "kind: sft\nx: 1\ny: ${stages.a.outputs.o}\n",
        }
    )
    assert {d.code for d in loaded.found} == {code}, loaded.told
    item = loaded.found.items[0]
    assert message in item.message
    assert (item.span.file, item.span.line) == (("inner.yaml", 3) if "inner" in body else ("main.yaml", line))


def test_a_circle_notes_each_need(load_files: Load) -> None:
    loaded = load_files(
        stages("  a: {kind: sft, needs: [b]}\n  b: {kind: sft, x: '${stages.a.outputs.o}'}\n")
    )
    assert [(text, span.line) for text, span in loaded.found.items[0].notes] == [("`b` needs `a`", 4)]
    assert list(loaded.stages) == ["b", "a"]


def test_an_inline_stage_is_resolved_once(load_files: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESIDENCY_TEXT", "${kind}")
    loaded = load_files(
        stages("  a: {kind: sft, x: '${env:RESIDENCY_TEXT}', y: '${no.such}', env: {T: '${secret:T}'}}\n")
    )
    assert loaded.codes == ["undefined-interpolation"]
    assert loaded.stages["a"].config["x"] == "${kind}"
    assert loaded.stages["a"].config["env"] == {"T": "⟦secret:T⟧"}


def test_mistakes_of_all_recipes_come_at_once(load_files: Load) -> None:
    loaded = load_files(
        {
            "main.yaml": stages("  a: {recipe: a.yaml}\n  b: {recipe: b.yaml}\n  c: {recipe: no.yaml}\n"),
            "a.yaml": "kind: sft\nx: 1\nx: 2\n",
            "b.yaml": "kind: sft\nx: '${no.such}'\n",
        }
    )
    assert [(d.span.file, d.code) for d in loaded.found] == [
        ("a.yaml", "duplicate-key"),
        ("b.yaml", "undefined-interpolation"),
        ("main.yaml", "missing-file"),
    ]
    assert set(loaded.stages) == {"a", "b"}


NESTED = {
    "main.yaml": """
        kind: pipeline
        stages:
          last: {kind: evaluate, model: "${stages.inner.train.outputs.model}", needs: [inner]}
          inner:
            recipe: inner.yaml
            with: {data: "${stages.data.outputs.train}"}
            needs: [first]
          data: {kind: data}
          first: {kind: data}
        """,
    "inner.yaml": """
        kind: pipeline
        params: {data: {type: string}}
        stages:
          score: {kind: evaluate, model: "${stages.train.outputs.model}"}
          train: {kind: sft, dataset: "${params.data}"}
        """,
}


def test_a_pipeline_inside_a_pipeline(load_files: Load) -> None:
    loaded = load_files(NESTED)
    assert loaded.found.items == []
    assert {name: needs(stage) for name, stage in loaded.stages.items()} == {
        "data": set(),
        "first": set(),
        "inner/train": {"data", "first"},
        "inner/score": {"inner/train", "first"},
        "last": {"inner/train", "inner/score"},
    }
    assert loaded.stages["inner/score"].config["model"] == "⟦stages.inner/train.outputs.model⟧"
    assert list(loaded.stages).index("inner/train") < list(loaded.stages).index("inner/score")


def test_a_pipeline_has_no_outputs_of_its_own(load_files: Load) -> None:
    files = {**NESTED, "main.yaml": NESTED["main.yaml"].replace("inner.train.outputs", "inner.outputs")}
    loaded = load_files(files)
    assert [(d.code, d.message) for d in loaded.found] == [
        ("unknown-stage", "`inner` is a pipeline and has no outputs of its own")
    ]


def test_a_pipeline_cannot_hold_itself(load_files: Load) -> None:
    loaded = load_files(
        {"a.yaml": stages("  x: {recipe: b.yaml}\n"), "b.yaml": stages("  y: {recipe: a.yaml}\n")}
    )
    assert [(d.code, d.message) for d in loaded.found] == [
        ("circular-stages", "a pipeline holds itself: a.yaml → b.yaml → a.yaml")
    ]


def test_services_and_loops_are_tokens(load_files: Load) -> None:
    loaded = load_files(
        "kind: pipeline\nservices: {retriever: {kind: serve}}\nstages:\n"
        "  a: {kind: sft, x: '${services.retriever.url}/v1', y: 'i${loop.index}'}\n"
    )
    assert loaded.found.items == []
    stage = loaded.stages["a"]
    assert stage.config["x"] == "⟦services.retriever.url⟧/v1"
    assert [(ref.kind, ref.target) for ref in stage.references] == [
        ("service", ("retriever", "url")),
        ("loop", ("index",)),
    ]
