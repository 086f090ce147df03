"""The task files of BioASQ and TrialPanorama: what they call, and a run of all of them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from processors import bioasq, trialpanorama
from residency.benchmark import asked
from residency.benchmark.trialpanorama import task as trial_task
from residency.engines.base import Job
from residency.engines.lm_eval import taskfiles
from residency.engines.lm_eval.engine import ENGINE
from residency.engines.lm_eval.questions import BadRow
from residency.evaluation import prompts
from residency.files import read_json
from residency.paths import PROJECT
from residency.retrieval.boolean.build import build

EXAMPLES = PROJECT / "datasets"
TASKS = sorted(name for name in taskfiles.own(PROJECT) if name.startswith(("bioasq_", "trialpanorama_")))


def rows(name: str, index: Path) -> Iterator[dict[str, Any]]:
    """The example rows of a task."""
    family, _, kind = name.partition("_")
    if family == "bioasq":
        files = iter([{"path": str(EXAMPLES / "example_bioasq.json")}])
        yield from bioasq.read(files, types=[kind])  # type: ignore[list-item]
        return
    lines = (EXAMPLES / f"example_trial_{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    which = {"search": "study_search"}.get(kind, kind)
    where = str(index) if kind == "search" else None
    yield from trialpanorama.questions(map(json.loads, lines), task=which, index=where)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index") / "index"
    titles = {90000001: "Exercise in asthma", 90000002: "Kitchens", 90000003: "Breathing training for asthma"}
    build(({"pmid": n, "title": title, "abstract": ""} for n, title in titles.items()), folder)
    return folder


def write(path: Path, made: Iterator[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path


def function(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def docs(path: Path, **style: Any) -> list[dict[str, Any]]:
    """The questions of a file as lm-eval keeps them."""
    chosen = asked.in_style(style)
    drawn = asked.load(Path(chosen.examples)) if chosen.examples else []
    examples = prompts.Examples(drawn, chosen)
    return [asked.doc(one, chosen, examples, path) for one in asked.load(path)]


def test_there_are_eight() -> None:
    assert len(TASKS) == 8


@pytest.mark.parametrize("name", TASKS)
def test_a_right_answer_has_full_marks_and_every_metric_is_listed(
    name: str, tmp_path: Path, index: Path
) -> None:
    config = taskfiles.load(PROJECT / "recipes" / "tasks" / f"{name}.yaml").config
    score = function(config["process_results"].path)
    listed = {row["metric"]: row for row in config["metric_list"]}
    made = list(rows(name, index))
    trial_task.look_up.cache_clear()
    got = []
    for doc, row in zip(docs(write(tmp_path / "rows.jsonl", iter(made))), made, strict=True):
        got.append(score(doc, [row["output"]]))
        for text in ("", "yes", row["output"] * 2, "<answer>", '{"query": "(("}'):
            assert score(doc, [text]).keys() <= {*listed, "readings"}
    assert got
    for metric, about in listed.items():
        values = [one[metric] for one in got if metric in one]
        way = about["aggregation"]
        value = sum(values) / len(values) if way == "mean" else function(way.path)(values)
        if not about["higher_is_better"]:
            assert value == 0, metric
        elif not metric.startswith("precision@") and not metric.startswith("f1@"):
            # Of F1s a label that never occurs has 0; precision at 100 of two studies is 0.02.
            assert value == 1, metric


def test_open_and_closed_book() -> None:
    files = [{"path": str(EXAMPLES / "example_bioasq.json")}]
    opened, closed = (next(bioasq.read(iter(files), snippets=shown)) for shown in (True, False))
    assert opened["input"] == "PMID 1: Insulin is a hormone made by the beta cells of the pancreas."
    assert closed["input"] == ""
    assert next(bioasq.read(iter(files), names=False))["input"].startswith("Insulin is")
    assert opened["pmids"] == [1, 2]
    assert opened["output"] == "<answer>yes</answer>"


def test_the_golden_batch_as_rows(reference_dir: Path) -> None:
    from residency.processing import Report

    report = Report()
    path = reference_dir / "bioasq" / "12B1_golden.json.gz"
    made = list(bioasq.read(iter([{"path": str(path)}, {"path": str(path)}]), most_snippets=3, report=report))
    assert len(made) == 67
    assert report.dropped == {"of type summary": 36, "an id of another file": 67}
    kinds = [row["question_type"] for row in made]
    assert (kinds.count("yesno"), kinds.count("list"), kinds.count("factoid")) == (25, 21, 21)
    assert all(row["input"].count("\n") <= 2 for row in made)


def test_rows_that_are_no_questions(tmp_path: Path) -> None:
    for text, said in (("", "no rows"), ('{"instruction": "x"}', "row 1: it lacks gold"), ("3", "row 1")):
        (tmp_path / "rows.jsonl").write_text(text)
        with pytest.raises(BadRow, match=said):
            asked.load(tmp_path / "rows.jsonl")


def test_a_name_that_comes_twice(tmp_path: Path) -> None:
    row = {"id": "a", "instruction": "x", "gold": "yes"}
    assert [one["id"] for one in docs(write(tmp_path / "r.jsonl", iter([row, row])))] == ["a", "a#2"]


def test_in_a_style(tmp_path: Path, index: Path) -> None:
    """Examples are asked and answered as their rows have it; a second request asks for the answer."""
    for name in TASKS:
        first = next(rows(name, index))
        other = {**first, "id": "other", "instruction": f"Another question. {first['instruction']}"}
        test = write(tmp_path / f"{name}.jsonl", iter([first]))
        train = write(tmp_path / f"{name}-train.jsonl", iter([first, other]))
        (plain,) = docs(test)
        (shown,) = docs(test, shots=1, examples=str(train))
        turns = shown["messages"][-3:]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        assert turns[0]["content"].startswith("Another question. ")
        assert turns[1]["content"] == first["output"]
        assert turns[2] == plain["messages"][-1]
        (reasoned,) = docs(test, then="Now answer as {question} wants.", book="closed")
        assert first["instruction"] in reasoned["then"]
        assert not first["input"].strip() or first["input"] not in reasoned["messages"][-1]["content"]
        assert shown["answer"] == reasoned["answer"] == plain["answer"]


def test_a_style_that_names_what_the_rows_lack(tmp_path: Path) -> None:
    row = {"id": "a", "instruction": "x", "gold": "yes"}
    path = write(tmp_path / "rows.jsonl", iter([row, {**row, "id": "b", "instruction": "y"}]))
    with pytest.raises(BadRow, match=r"row 1: it has no options, and the prompt names \{first\}"):
        docs(path, question="{question} from {first}")
    with pytest.raises(BadRow, match="row 1: it has no field `output`"):
        docs(path, shots=1, examples=str(path))


@pytest.mark.slow
def test_a_tiny_model_answers_all_of_them(tmp_path: Path, index: Path) -> None:
    pytest.importorskip("lm_eval")
    from tiny_model import make_tiny_model

    data = {name: str(write(tmp_path / f"{name}.jsonl", rows(name, index))) for name in TASKS}
    model = make_tiny_model(tmp_path / "tiny", [Path(path).read_text() for path in data.values()])
    config = {
        "kind": "evaluate",
        "model": str(model),
        "tasks": TASKS,
        "data": data,
        "prompt": {"style": "reasoning", "max_tokens": 4, "then_tokens": 4},
        "citations": True,
        "lm_eval": {"apply_chat_template": True, "batch_size": 4, "gen_kwargs": {"max_gen_toks": 4}},
    }
    job = Job(
        name="evaluate",
        kind="evaluate",
        config=config,
        folder=tmp_path / "stage",
        recipe_folder=tmp_path,
        project=PROJECT,
        gpus=0,
        threads=1,
    )
    launch = ENGINE.prepare(job)
    for name, text in launch.files.items():
        path = job.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *launch.argv[1:]],
        cwd=job.folder,
        env={**os.environ, **launch.env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = ENGINE.verify(job)
    assert {name.split("/")[0] for name in found.metrics} == set(TASKS)
    assert all(0 <= value <= 1 for value in found.metrics.values())
    scores = {(row["task"], row["metric"]): row for row in read_json(job.outputs / "results.json")["scores"]}
    assert scores["trialpanorama_search", "unavailable"]["value"] == 0.0
    assert scores["bioasq_list", "f1"]["unreadable"] == 2
    assert all((task, "cites") in scores for task in TASKS)
    samples = [json.loads(line) for line in (job.outputs / "samples.jsonl").read_text().splitlines()]
    assert all(one["then"].startswith("Now give the answer alone") and one["reasoning"] for one in samples)


def checked(folder: Path, data: str) -> list[tuple[str, str]]:
    from residency.plan.check import check

    recipe = folder / "recipe.yaml"
    recipe.write_text(f"kind: evaluate\nname: x\nmodel: owner/name\ntasks: [bioasq_yesno]\n{data}")
    return [(one.code, f"{one.message} {one.hint or ''}") for one in check(recipe).found]


def test_a_check_looks_at_the_rows(tmp_path: Path) -> None:
    ((code, said),) = checked(tmp_path, "")
    assert code == "missing-task-data"
    assert "data: {bioasq_yesno: PATH}" in said
    row = {"id": "a", "instruction": "x", "gold": "yes"}
    write(tmp_path / "rows.jsonl", iter([row, {"id": "b", "instruction": "y"}, {**row, "id": "c"}]))
    found = dict(checked(tmp_path, "data: {bioasq_yesno: rows.jsonl}\n"))
    assert "row 2: it lacks gold columns: instruction, gold" in found["bad-data-row"]
    assert "1 of 3 questions are asked more than once" in found["duplicate-questions"]
    write(tmp_path / "rows.jsonl", iter([row]))
    assert checked(tmp_path, "data: {bioasq_yesno: rows.jsonl}\n") == []
    warm = "lm_eval: {gen_kwargs: {do_sample: true, temperature: 0.7}}"
    sampled = f"data: {{bioasq_yesno: rows.jsonl}}\nsamples: 4\n{warm}\n"
    assert checked(tmp_path, sampled) == []
    data = "data: {bioasq_yesno: rows.jsonl}\n"
    for style in ("reasoning", "question_only", "{style: examples, shots: 0}"):
        assert checked(tmp_path, f"{data}prompt: {style}\n") == []
    for style, words in (
        (
            "{style: zero_shot, strict: null}",
            "names {first}, and the questions of bioasq_yesno have no options",
        ),
        ("{strict: residency.evaluation.extract.tagged}", "strict: the task bioasq_yesno reads its answers"),
        ("{style: examples, examples: rows.jsonl}", "drawn from rows.jsonl, the test itself"),
    ):
        ((code, said),) = checked(tmp_path, f"{data}prompt: {style}\n")
        assert (code, words in said) == ("bad-prompt", True), said
    assert checked(tmp_path, f"{data}citations: true\n") == []
    assert checked(tmp_path, f"{data}citations: pubmed\n") == []
    ((code, said),) = checked(tmp_path, f"{data}citations: nowhere\n")
    assert (code, "nowhere" in said) == ("missing-file", True)
