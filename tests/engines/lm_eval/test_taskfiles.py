"""Task files: read without lm-eval, kept whole, written so that lm-eval reads them the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from residency.engines.lm_eval import taskfiles
from residency.evaluation import styles
from residency.paths import PROJECT


def write(project: Path, name: str, text: str) -> Path:
    path = project / taskfiles.FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", sorted(taskfiles.own(PROJECT)))
def test_shipped_tasks(name: str) -> None:
    task = taskfiles.find(PROJECT, name)
    assert task is not None
    assert task.local
    assert task.split == "test"
    assert task.config["metadata"]["version"] >= 1
    if task.questions:
        assert bool(task.labels) != task.choices
        assert all(isinstance(label, str) for label in task.labels)
        assert all(f.startswith("residency.") for f in task.functions)
        assert task.prompt is None or task.prompt in styles.own(PROJECT)


def test_render_puts_in_the_style_and_the_number_of_answers(tmp_path: Path) -> None:
    task = taskfiles.find(PROJECT, "medqa")
    assert task is not None
    assert (task.prompt, task.choices, task.labels) == ("zero_shot", True, ())
    out = tmp_path / "medqa.yaml"
    out.write_text(task.render(Path("/x.jsonl"), {"system": "Hi", "max_tokens": 99}, 4), encoding="utf-8")
    again = taskfiles.load(out).config
    assert again["dataset_kwargs"]["prompt"] == {"system": "Hi", "max_tokens": 99}
    assert again["dataset_kwargs"]["strict"] == "residency.evaluation.extract.tagged"
    assert again["generation_kwargs"] == {"do_sample": False, "max_gen_toks": 99, "until": []}
    assert again["repeats"] == 4
    likely = taskfiles.find(PROJECT, "pubmedqa_likelihood")
    assert likely is not None
    assert "repeats" not in likely.render(None, {"max_tokens": 9}, 4)


def test_render_is_read_back_the_same(tmp_path: Path) -> None:
    task = taskfiles.find(PROJECT, "pubmedqa")
    assert task is not None
    out = tmp_path / "pubmedqa.yaml"
    out.write_text(task.render(Path("/data/my file.jsonl")), encoding="utf-8")
    again = taskfiles.load(out)
    kwargs = again.config["dataset_kwargs"]
    assert kwargs.pop("data_files") == {"test": "/data/my file.jsonl"}
    assert again.config == task.config


def test_include_and_modules_beside(tmp_path: Path) -> None:
    write(tmp_path, "_base.yaml", "test_split: test\ndataset_path: json\noutput_type: generate_until\n")
    helper = write(tmp_path, "mine.py", "def score(doc, results): return {}\n")
    write(
        tmp_path,
        "a.yaml",
        "include: _base.yaml\ntask: a\nprocess_results: !function mine.score\n"
        "doc_to_text: !function processors.x.y\n",
    )
    task = taskfiles.find(tmp_path, "a")
    assert task is not None
    assert task.config["test_split"] == "test"
    assert "include" not in task.config
    assert task.functions == ("processors.x.y",)
    assert helper in task.files
    assert len(task.files) == 3
    assert list(taskfiles.own(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "is a mapping"),
        ("task: b\ndoc_to_text: x\n", "must be 'a'"),
        ("output_type: x\n", "no `task:` name"),
        ("task: [\n", "a.yaml"),
        ("task: a\ndoc_to_txt: x\n", r"unknown key `doc_to_txt` \(did you mean `doc_to_text`\?\)"),
        ("task: a\noutput_type: generate_until\n", "no `doc_to_text`"),
        ("include: a.yaml\ntask: a\n", "includes itself"),
        ("include: gone.yaml\ntask: a\n", "no such file"),
        ("task: a\nclass: !!python/object/apply:os.system [ls]\n", "could not determine a constructor"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path, "a.yaml", text)
    with pytest.raises(taskfiles.BadTask, match=message):
        taskfiles.find(tmp_path, "a")


def test_no_such_task(tmp_path: Path) -> None:
    assert taskfiles.find(tmp_path, "a") is None
    assert taskfiles.shipped(tmp_path) == frozenset()


def test_lm_evals_own_names() -> None:
    names = taskfiles.shipped(PROJECT)
    assert {"mmlu", "medqa_4options", "medmcqa", "pubmedqa"} <= names
    assert len(names) > 10_000


@pytest.mark.slow
def test_the_keys_of_a_task_are_lm_evals() -> None:
    from dataclasses import fields

    config = pytest.importorskip("lm_eval.config.task")
    assert {field.name for field in fields(config.TaskConfig)} | {"class", "include"} == taskfiles.KEYS


@pytest.mark.slow
def test_the_list_of_lm_evals_own_tasks_is_current() -> None:
    from residency.engines.lm_eval import tasks_source

    pytest.importorskip("lm_eval")
    assert taskfiles.shipped(PROJECT) == frozenset(tasks_source.generate().split())
