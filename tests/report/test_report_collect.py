from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from make_run import make_run

from residency.errors import Missing
from residency.report.collect import collect, read_files, read_funnels
from residency.report.html import page
from residency.report.scores import sample, score
from residency.run import procs


def states(run_dir: Path) -> dict[str, str]:
    return {stage.name: stage.status for stage in collect(run_dir).stages}


def test_a_run_that_went_well(done: Path) -> None:
    record = collect(done)
    assert (record.status, record.name, record.problems) == ("done", "quickstart", [])
    assert record.command == "launch.py recipes/quickstart.yaml"
    assert states(done) == {
        "model": "reused",
        "data": "done",
        "before": "done",
        "sft": "done",
        "after": "done",
    }
    data, before, sft = (record.stages[i] for i in (1, 2, 3))
    first, second = data.funnels
    assert first.dropped == {"no abstract": 15168}
    assert (first.read, first.kept, second.read, second.kept) == (30000, 14832, 14832, 2500)
    assert [(file.name, file.rows) for file in data.files] == [
        ("study_questions_train", 400),
        ("study_questions_test", 100),
    ]
    assert [s.n for s in before.scores] == [100, 100]
    assert len(before.samples) == 200
    assert (sft.attempts, sft.resumed_from) == (2, "checkpoint-40")
    assert data.command == "python -m residency.stages.data.main stage.yaml"
    assert record.stages[0].seconds == 19.2, "a reused stage shows the time that it once took"


def test_steps_that_a_resume_repeated_stand_once_and_in_order(done: Path) -> None:
    curve = collect(done).stages[3].curve
    assert [row["step"] for row in curve] == list(range(1, 101))
    assert {"loss", "eval_loss"} <= curve[9].keys()


def test_scores_of_the_same_task_are_compared_with_the_first(done: Path) -> None:
    found = collect(done).comparisons()
    assert [(c.task, c.before_stage, c.after_stage) for c in found] == [
        ("human_or_animal", "before", "after"),
        ("case_report", "before", "after"),
    ]
    assert all(c.paired and c.clear for c in found)


def test_scores_on_other_data_are_not_compared(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    config = run_dir / "stages" / "after" / "stage.yaml"
    config.write_text(config.read_text().replace("study_questions_test", "another_test"))
    assert collect(run_dir).comparisons() == []


def test_a_failed_run(failed: Path) -> None:
    record = collect(failed)
    sft, after = record.stages[3:]
    assert record.status == "failed"
    assert (sft.status, sft.error) == ("failed", "the training loss is not a number since step 61")
    assert "loss is nan" in sft.log_tail
    assert len(sft.curve) == 60
    assert (after.status, after.folder) == ("waiting", None)


def test_a_killed_run_is_interrupted(killed: Path) -> None:
    record = collect(killed)
    assert (record.status, record.stages[3].status) == ("interrupted", "interrupted")
    assert record.problems == [], "a last line that was cut short is what a kill leaves"
    assert len(record.stages[3].curve) == 60


def test_a_run_whose_launcher_lives_is_running(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, outcome="killed")
    state = run_dir / "stages" / "sft" / "state.json"
    living = {"pid": os.getpid(), "pid_started": procs.started(os.getpid())}
    state.write_text(json.dumps(json.loads(state.read_text()) | living))
    record = collect(run_dir)
    assert (record.status, record.stages[3].status) == ("running", "running")
    another = {"pid": os.getpid(), "pid_started": "a process of this number before"}
    state.write_text(json.dumps(json.loads(state.read_text()) | another))
    assert collect(run_dir).status == "interrupted"


@pytest.mark.parametrize(
    "name", ["run.json", "recipe.lock.yaml", "stages/sft/state.json", "stages/before/outputs/results.json"]
)
@pytest.mark.parametrize("damage", ["", "{", "[1, 2]", "\x00\xff: [", "missing"])
def test_any_file_may_be_damaged_or_missing(tmp_path: Path, name: str, damage: str) -> None:
    run_dir = make_run(tmp_path, questions=8, steps=20)
    path = run_dir / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damage.encode("latin-1"))
    record = collect(run_dir)
    assert {stage.name for stage in record.stages} == {"model", "data", "before", "sft", "after"}
    assert (damage in ("missing", "")) or record.problems or name.endswith("yaml")
    assert "</html>" in page(record)


@pytest.mark.parametrize("seed", range(12))
def test_values_of_any_type_are_survived(tmp_path: Path, seed: int) -> None:
    """Each value of run.json and of a state is replaced by one of another type in turn."""
    run_dir = make_run(tmp_path, questions=4, steps=20)
    odd = [None, 7, "text", [1], {"a": {"b": [None]}}, -1.5, True, [], {}, [{"x": []}], "<b>", 1e308][seed]
    targets = [
        run_dir / "run.json",
        run_dir / "stages/sft/state.json",
        run_dir / "stages/before/outputs/results.json",
    ]
    targets.append(run_dir / "stages/data/outputs/report.json")
    for path in targets:
        whole = json.loads(path.read_text())
        for key in whole:
            path.write_text(json.dumps(whole | {key: odd}))
            assert "</html>" in page(collect(run_dir)), (path.name, key)
        path.write_text(json.dumps(whole))


def test_a_stage_whose_folder_is_gone(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    shutil.rmtree((run_dir / "stages" / "sft").resolve())
    record = collect(run_dir)
    assert record.stages[3].folder is None
    assert "</html>" in page(record)


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="no run at"):
        collect(tmp_path / "nowhere")
    with pytest.raises(Missing, match=r"neither run\.json nor stages"):
        collect(tmp_path)


def test_a_lost_loss_is_kept_as_such(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path)
    with (run_dir / "stages/sft/metrics.jsonl").open("a") as stream:
        stream.write('{"step": 101, "loss": null, "learning_rate": 0.1}\n{"step": 102, "loss": NaN}\n')
    assert "The loss was not a number at step 101 and at 1 more." in page(collect(run_dir))


def test_processors_that_dropped_nothing_show_no_funnel() -> None:
    one = {"read": 10, "kept": 8, "dropped": [{"reason": "empty", "n": 2, "examples": []}]}
    same = {"read": 10, "kept": 10, "dropped": []}
    steps = [same | {"function": "processors.a"}, one | {"function": "processors.b"}]
    found = read_funnels({"datasets": {"d": {"processors": steps, "formatted": same}}})
    assert [(f.name, f.dropped) for f in found] == [("d: processors.b", {"empty": 2})]
    assert [f.name for f in read_funnels({"datasets": {"d": {"processors": steps[:1]}}})] == [
        "d: processors.a"
    ]
    assert read_funnels({}) == []


def test_a_note_of_the_size_alone_is_left_to_the_labels() -> None:
    row = {"task": "t", "metric": "acc", "value": 0.5, "n": 20, "note": "n=20: a small sample"}
    found = score(row)
    assert found is not None
    assert (found.note, found.labels) == (None, ["small sample"])
    other = score(row | {"note": "no interval for this weighting"})
    assert other is not None
    assert other.note == "no interval for this weighting"
    assert score({"task": "t", "value": True}) is None


def test_an_answer_that_nobody_judged() -> None:
    assert sample({"id": 3, "correct": None}, 0).correct is None
    assert sample({"correct": 0}, 7).id == "7"


def test_a_corpus_has_a_funnel_and_its_files() -> None:
    dropped = [{"reason": "no abstract", "n": 3, "examples": ["7"]}]
    report = {"records": 5, "read": 8, "kept": 5, "dropped": dropped, "passages": 9}
    (funnel,) = read_funnels(report)
    assert (funnel.read, funnel.kept, funnel.dropped) == (8, 5, {"no abstract": 3})
    assert [(file.name, file.rows) for file in read_files(report)] == [("corpus", 5), ("corpus.jsonl", 9)]
