"""What a check says of an `evaluate` recipe, and what its fingerprint covers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency import stages
from residency.engines.base import CheckContext
from residency.engines.lm_eval.engine import ENGINE
from residency.paths import PROJECT
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.model import Recipe
from residency.recipe.nodes import Entry, Mapping, Node, Scalar, Sequence, Span

KIND = stages.get("evaluate")
Check = Callable[..., list[Diagnostic]]


def placed(node: yaml.Node, file: str) -> Node:
    """A composed YAML document as placed nodes."""
    a, b = node.start_mark, node.end_mark
    span = Span(file, a.line + 1, a.column + 1, b.line + 1, b.column + 1)
    if isinstance(node, yaml.MappingNode):
        entries = {}
        for key, value in node.value:
            m, n = key.start_mark, key.end_mark
            where = Span(file, m.line + 1, m.column + 1, n.line + 1, n.column + 1)
            entries[key.value] = Entry(key.value, where, placed(value, file))
        return Mapping(span, entries)
    if isinstance(node, yaml.SequenceNode):
        return Sequence([placed(item, file) for item in node.value], span)
    return Scalar(yaml.safe_load(yaml.serialize(node)), span, node.value)


def recipe_of(path: Path, text: str) -> Recipe:
    path.write_text(text, encoding="utf-8")
    tree = placed(yaml.compose(text), str(path))
    assert isinstance(tree, Mapping)
    return Recipe(path, "evaluate", "test", tree)


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """The diagnostics of a recipe's text, in the order of its lines."""

    def run(text: str, trust: tuple[str, ...] = (), project: Path = PROJECT) -> list[Diagnostic]:
        recipe = recipe_of(tmp_path / "recipe.yaml", text)
        context = CheckContext(project=project, cwd=tmp_path, trust=trust)
        found = Diagnostics()
        KIND.check(recipe, context, found)
        KIND.engine(recipe.config).check(recipe, context, found)
        return list(found)

    return run


def rows(path: Path, *answers: str, **more: Any) -> Path:
    lines = [
        json.dumps({"instruction": f"Question {i}?", "input": "", "output": f"<answer>{a}</answer>", **more})
        for i, a in enumerate(answers)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


GOOD = """\
kind: evaluate
model: owner/name
tasks: [study_questions]
data: {study_questions: rows.jsonl}
"""


def test_good(check: Check, tmp_path: Path) -> None:
    rows(tmp_path / "rows.jsonl", "yes", "no")
    assert check(GOOD + "limit: 100\nlm_eval: {batch_size: auto, apply_chat_template: true}\n") == []


@pytest.mark.parametrize(
    ("text", "code", "line", "words"),
    [
        ("model: ./nowhere\ntasks: [mmlu]\n", "model-missing", 1, "nowhere"),
        ("model: /a/b/c\ntasks: [mmlu]\n", "model-missing", 1, "/a/b/c"),
        ("model: empty\ntasks: [mmlu]\n", "model-missing", 1, "holds no config.json"),
        ("model: o/m\nadapter: ./gone\ntasks: [mmlu]\n", "model-missing", 2, "gone"),
        ("model: o/m\nadapter: empty\ntasks: [mmlu]\n", "model-missing", 2, "adapter_config.json"),
        ("model: o/m\ntasks:\n- mmlu\n- study_question\n", "unknown-task", 4, "`study_questions`"),
        ("model: o/m\ntasks: medqa_4option\n", "unknown-task", 2, "`medqa_4options`"),
        ("model: o/m\ntasks: [zzzzzzzzz]\n", "unknown-task", 2, "pubmedqa_likelihood"),
        ("model: o/m\ntasks: [pubmedqa]\n", "missing-task-data", 2, "data: {pubmedqa: PATH}"),
        (
            "model: o/m\ntasks: [pubmedqa]\ndata: {pubmedqa: gone.jsonl}\n",
            "missing-file",
            3,
            "gone.jsonl",
        ),
        ("model: o/m\ntasks: [mmlu]\ndata:\n  mmlu: rows.jsonl\n", "unused-data", 4, "brings its own data"),
        ("model: o/m\ntasks: [mmlu]\ndata:\n  mmlv: rows.jsonl\n", "unknown-task", 4, "`mmlu`"),
        ("model: o/m\ntasks: [mmlu]\nlm_eval:\n  limit: 2.5\n", "out-of-range", 4, "2.5"),
        ("model: o/m\ntasks: [mmlu]\nlm_eval:\n  tasks: x\n", "reserved-key", 4, "own `tasks:`"),
        ("model: o/m\ntasks: [mmlu]\nlm_eval:\n  use_cache: x\n", "reserved-key", 4, "always kept"),
        (
            "model: o/m\ntasks: [mmlu]\nlm_eval:\n  model_args: {pretrained: x}\n",
            "reserved-key",
            4,
            "`model:`",
        ),
        (
            "model: o/m\ntasks: [mmlu]\nlm_eval:\n  trust_remote_code: true\n",
            "untrusted",
            4,
            "--trust o/m",
        ),
        (
            "model: o/m\ntasks: [mmlu]\nlimit: 5\nlm_eval:\n  limit: 6\n",
            "conflicting-keys",
            5,
            "keep `limit:`",
        ),
        (
            "model: o/m\ntasks: [mmlu]\nlimit: 5\nlm_eval:\n  samples: {mmlu: [1]}\n",
            "conflicting-keys",
            5,
            "keep one",
        ),
        (
            "model: o/m\ntasks: [mmlu]\nlm_eval:\n  fewshot_as_multiturn: true\n",
            "conflicting-keys",
            4,
            "apply_chat_template: true",
        ),
        (
            "model: o/m\nadapter: o/a\ntasks: [mmlu]\nlm_eval: {model: local-completions}\n",
            "conflicting-keys",
            2,
            "takes no adapter",
        ),
    ],
)
def test_one_mistake(check: Check, tmp_path: Path, text: str, code: str, line: int, words: str) -> None:
    (tmp_path / "empty").mkdir()
    rows(tmp_path / "rows.jsonl", "yes")
    (found,) = check(text)
    assert (found.code, found.span.line, found.severity) == (code, line, "error")
    assert words in f"{found.message} {found.hint}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"instruction": "a?", "output": "yes"}\n', "row 1: its output has no <answer>"),
        ('{"instruction": "a?"}\n', "row 1: it lacks output"),
        ('{"instruction": "a?", "output": "<answer>maybe</answer>"}\n', "with one of yes, no"),
        ("{oops\n", "line 1 is not JSON"),
        ("", "holds no rows"),
    ],
)
def test_bad_rows(check: Check, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    (found,) = check(GOOD)
    assert (found.code, found.span.line) == ("bad-data-row", 4)
    assert words in found.message


def test_several_bad_rows_are_counted(check: Check, tmp_path: Path) -> None:
    rows(tmp_path / "rows.jsonl", "yes", "maybe", "no", "perhaps", "never")
    (found,) = check(GOOD)
    assert "row 2" in found.message
    assert "and 2 more" in found.message


def test_questions_asked_twice(check: Check, tmp_path: Path) -> None:
    path = rows(tmp_path / "rows.jsonl", "yes", "no")
    path.write_text(path.read_text() * 2)
    (found,) = check(GOOD)
    assert (found.code, found.severity) == ("duplicate-questions", "warning")
    assert "2 of 4 questions" in found.message
    rows(path, "yes", "no", id="same")
    (found,) = check(GOOD)
    assert "1 of 2 rows have the id of another" in found.message


def test_all_mistakes_at_once(check: Check) -> None:
    text = "model: ./gone\ntasks: [pubmedq]\nlimit: 1\ndata: {mmlu: x}\nlm_eval: {output_path: y}\n"
    codes = [found.code for found in check(text)]
    assert codes == ["model-missing", "unknown-task", "unknown-task", "reserved-key"]


def test_what_another_stage_gives_is_not_looked_for(check: Check) -> None:
    text = (
        "model: ⟦stages.sft.outputs.model⟧\nadapter: ⟦stages.x.outputs.adapter⟧\n"
        "tasks: [pubmedqa]\ndata: {pubmedqa: ⟦stages.data.outputs.test⟧}\n"
    )
    assert check(text) == []


def test_a_model_with_a_chat_template_asked_without_it(check: Check, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    text = "model: ./model\ntasks: [mmlu]\n"
    assert check(text) == []
    (model / "chat_template.jinja").write_text("{{ messages }}")
    (found,) = check(text)
    assert (found.code, found.severity) == ("no-chat-template", "warning")
    assert check(text + "lm_eval: {apply_chat_template: false}\n") == []


def test_trust(check: Check, tmp_path: Path) -> None:
    text = "model: o/m\ntasks: [mmlu]\nlm_eval: {trust_remote_code: true}\n"
    assert check(text, trust=("o/m",)) == []
    folder = tmp_path / "recipes" / "tasks"
    folder.mkdir(parents=True)
    (folder / "a.yaml").write_text("task: a\ndoc_to_text: x\nprocess_results: !function os.path.join\n")
    (found,) = check("model: o/m\ntasks: [a]\n", project=tmp_path)
    assert (found.code, found.hint) == (
        "untrusted",
        "if you trust it, add `--trust os` to the command line",
    )
    assert check("model: o/m\ntasks: [a]\n", trust=("os",), project=tmp_path) == []
    (folder / "a.yaml").write_text("task: b\n")
    (found,) = check("model: o/m\ntasks: [a]\n", project=tmp_path)
    assert found.code == "bad-task-file"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("processors.mine.score", None),
        ("processors.mine.scor", "which is not there"),
        ("processors.mien.score", "which names no module"),
        ("processors.mine.LIMIT", "which is no function"),
        ("processors.broken.score", "cannot be imported"),
    ],
)
def test_the_functions_of_a_task(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, words: str | None
) -> None:
    monkeypatch.setenv("RESIDENCY_CACHE", str(tmp_path / "cache"))
    tasks, code = tmp_path / "recipes" / "tasks", tmp_path / "processors"
    tasks.mkdir(parents=True)
    code.mkdir()
    (code / "mine.py").write_text("LIMIT = 3\ndef score(doc, results): return {}\n")
    (code / "broken.py").write_text("import no_such_module\n")
    (tasks / "a.yaml").write_text(f"task: a\ndoc_to_text: x\nprocess_results: !function {function}\n")
    found = check("model: o/m\ntasks: [a]\n", project=tmp_path)
    if words is None:
        assert found == []
    else:
        assert [d.code for d in found] == ["bad-task-file"]
        assert words in found[0].message


def test_outputs_and_engine() -> None:
    assert {name: out.path for name, out in KIND.outputs({}).items()} == {
        "results": "results.json",
        "samples": "samples.jsonl",
    }
    assert KIND.engine({}) is ENGINE


def test_inputs(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    path = rows(tmp_path / "rows.jsonl", "yes")
    config = {
        "model": "model",
        "adapter": "⟦stages.sft.outputs.adapter⟧",
        "tasks": ["study_questions", "mmlu"],
        "data": {"study_questions": "rows.jsonl", "mmlu": "⟦stages.data.outputs.x⟧"},
    }
    found = KIND.inputs(config, tmp_path, PROJECT)
    assert found.files == (model, path, PROJECT / "recipes" / "tasks" / "study_questions.yaml")
    assert "residency.engines.lm_eval.questions.score" in found.functions
    assert "residency.engines.lm_eval.answers.extract" in found.functions
