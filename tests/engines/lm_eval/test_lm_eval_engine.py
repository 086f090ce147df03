"""What the engine writes for a stage, and what it finds wrong with what the stage left."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.engines.base import Job
from residency.engines.lm_eval import arguments, taskfiles
from residency.engines.lm_eval.engine import ENGINE
from residency.errors import StageFailed
from residency.files import write_json

MakeJob = Callable[..., Job]
WriteRows = Callable[..., Path]


def test_prepare_writes_all_that_is_read(make_job: MakeJob, tmp_path: Path) -> None:
    config = {
        "model": "/models/m",
        "adapter": "./adapter",
        "tasks": ["study_questions"],
        "data": {"study_questions": "later/test.jsonl"},
        "limit": 7,
        "lm_eval": {"apply_chat_template": True, "model_args": "max_length=512,truncation=true"},
    }
    job = make_job(config)
    launch = ENGINE.prepare(job)
    assert launch == ENGINE.prepare(job)
    assert not job.folder.exists()
    assert launch.argv == (sys.executable, "-m", "residency.engines.lm_eval.main", "stage.yaml")
    assert set(launch.files) == {"stage.yaml", "lm_eval.yaml", "tasks/study_questions.yaml"}
    data = str(tmp_path / "later/test.jsonl")
    assert yaml.safe_load(launch.files["stage.yaml"]) == {
        "model": "/models/m",
        "adapter": str(tmp_path / "adapter"),
        "tasks": ["study_questions"],
        "own": ["study_questions"],
        "data": {"study_questions": data},
    }
    block = yaml.safe_load(launch.files["lm_eval.yaml"])
    assert block.pop("model_args") == {
        "pretrained": "/models/m",
        "peft": str(tmp_path / "adapter"),
        "dtype": "bfloat16" if arguments.fast_bfloat16() else "float32",
        "max_length": 512,
        "truncation": True,
    }
    assert block == {
        "apply_chat_template": True,
        "model": "hf",
        "tasks": ["study_questions"],
        "include_path": "tasks",
        "device": "cpu",
        "batch_size": arguments.BATCH_CPU,
        "limit": 7,
        "log_samples": True,
        "output_path": "outputs/lm_eval",
    }
    assert f"test: {data}" in launch.files["tasks/study_questions.yaml"]
    assert launch.env["HF_HUB_OFFLINE"] == "1"
    assert launch.env["CUDA_VISIBLE_DEVICES"] == ""


def test_prepare_with_a_hub_model_and_lm_evals_tasks_goes_online(make_job: MakeJob) -> None:
    launch = ENGINE.prepare(make_job({"model": "owner/name", "tasks": "mmlu, medqa_4options"}))
    assert yaml.safe_load(launch.files["stage.yaml"])["tasks"] == ["mmlu", "medqa_4options"]
    assert set(launch.files) == {"stage.yaml", "lm_eval.yaml"}
    assert "HF_HUB_OFFLINE" not in launch.env


@pytest.mark.parametrize(
    ("block", "gpus", "expected"),
    [
        ({}, 1, {"pretrained": "o/m", "dtype": "bfloat16"}),
        ({"model_args": {"dtype": "float16"}}, 1, {"pretrained": "o/m", "dtype": "float16"}),
        ({"model": "vllm"}, 4, {"pretrained": "o/m", "tensor_parallel_size": 4}),
        (
            {"model": "local-completions", "model_args": {"base_url": "http://x"}},
            0,
            {"model": "o/m", "base_url": "http://x"},
        ),
    ],
)
def test_model_args(make_job: MakeJob, block: dict[str, Any], gpus: int, expected: dict[str, Any]) -> None:
    launch = ENGINE.prepare(make_job({"model": "o/m", "tasks": ["mmlu"], "lm_eval": block}, gpus=gpus))
    assert yaml.safe_load(launch.files["lm_eval.yaml"])["model_args"] == expected


def test_several_gpus_each_hold_a_copy(make_job: MakeJob) -> None:
    config = {"model": "o/m", "tasks": ["mmlu"]}
    argv = ENGINE.prepare(make_job(config, gpus=4)).argv
    assert argv[1:5] == ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes")
    assert argv[5] == "4"
    assert argv[-3:] == ("-m", "residency.engines.lm_eval.main", "stage.yaml")
    config["lm_eval"] = {"model_args": {"parallelize": True}}  # type: ignore[assignment]
    assert "accelerate.commands.launch" not in ENGINE.prepare(make_job(config, gpus=4)).argv


def test_a_module_beside_a_task_goes_with_it(make_job: MakeJob, tmp_path: Path) -> None:
    folder = tmp_path / taskfiles.FOLDER
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text("def score(doc, results): return {}\n")
    (folder / "a.yaml").write_text("task: a\ndoc_to_text: x\nprocess_results: !function mine.score\n")
    job = make_job({"model": "/m", "tasks": ["a"]})
    launch = ENGINE.prepare(Job(**{**{f: getattr(job, f) for f in job.__slots__}, "project": tmp_path}))
    assert launch.files["tasks/mine.py"] == "def score(doc, results): return {}\n"


@pytest.mark.parametrize(
    ("flags", "fast"),
    [("flags : sse avx512f avx512_bf16", True), ("Features : asimd bf16", True), ("flags : avx2", False)],
)
def test_fast_bfloat16(tmp_path: Path, flags: str, fast: bool) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text(flags + "\n")
    assert arguments.fast_bfloat16(path) is fast
    assert arguments.fast_bfloat16(tmp_path / "none") is False


# --- verify


def left(job: Job, right: list[bool], **changes: Any) -> None:
    """Write what a good stage leaves, with `changes` laid over the first score."""
    score = {
        "task": "study_questions",
        "metric": "accuracy",
        "value": sum(right) / len(right),
        "n": len(right),
        "low": 0.1,
        "high": 0.9,
        "unreadable": 0,
        "limited": False,
        "note": None,
    }
    about = {"study_questions": {"n": len(right), "too_long": changes.pop("too_long", 0)}}
    write_json(job.outputs / "results.json", {"scores": [{**score, **changes}], "tasks": about})
    rows = [json.dumps({"task": "study_questions", "correct": r}) for r in right]
    (job.outputs / "samples.jsonl").write_text("\n".join(rows) + "\n")


@pytest.fixture
def job(make_job: MakeJob, write_rows: WriteRows) -> Job:
    data = {"study_questions": str(write_rows(4))}
    return make_job({"model": "/m", "tasks": ["study_questions"], "data": data})


def test_verify_good(job: Job) -> None:
    left(job, [True, False, True, True], unreadable=1, note="n=4: a small sample", too_long=2)
    found = ENGINE.verify(job)
    assert found.metrics == {"study_questions/accuracy": 0.75}
    assert found.outputs == {
        n: job.outputs / f for n, f in (("results", "results.json"), ("samples", "samples.jsonl"))
    }
    assert found.warnings == (
        "study_questions: 2 of 4 prompts are longer than the model's context; their beginning was cut off",
        "study_questions: 1 of 4 answers could not be read",
        "n=4: a small sample",
    )


@pytest.mark.parametrize(
    ("right", "changes", "message"),
    [
        ([True, True, False], {}, "3 questions were asked of 4"),
        ([True] * 4, {"value": float("nan")}, "is nan"),
        ([True, True, False, False], {"value": 0.75}, r"is 0.75, by samples.jsonl it is 0.5"),
    ],
)
def test_verify_finds_what_is_wrong(
    job: Job, right: list[bool], changes: dict[str, Any], message: str
) -> None:
    left(job, right, **changes)
    with pytest.raises(StageFailed, match=message):
        ENGINE.verify(job)


def test_verify_without_results(job: Job) -> None:
    with pytest.raises(StageFailed, match=r"without outputs/results\.json"):
        ENGINE.verify(job)
    left(job, [True] * 4)
    lines = (job.outputs / "samples.jsonl").read_text().splitlines()
    (job.outputs / "samples.jsonl").write_text("\n".join(lines[:3]) + "\n")
    with pytest.raises(StageFailed, match="has 3 rows for 4 questions"):
        ENGINE.verify(job)
    (job.outputs / "samples.jsonl").write_text("{cut")
    with pytest.raises(StageFailed, match="damaged"):
        ENGINE.verify(job)


@pytest.mark.parametrize(("limit", "asked"), [(2, 2), (9, 4), (0.3, 2)])
def test_verify_knows_the_limit(make_job: MakeJob, write_rows: WriteRows, limit: float, asked: int) -> None:
    data = {"study_questions": str(write_rows(4))}
    job = make_job({"model": "/m", "tasks": ["study_questions"], "data": data, "limit": limit})
    left(job, [True] * asked, limited=asked < 4)
    assert ENGINE.verify(job).metrics == {"study_questions/accuracy": 1.0}


def test_progress_and_resume_of_an_empty_folder(job: Job) -> None:
    assert ENGINE.progress(job).step is None
    assert ENGINE.resume(job) is None


@pytest.mark.parametrize(
    ("log", "message", "hint"),
    [
        ("", "it printed nothing", None),
        ("x\nerror: BadRow: a.jsonl: row 3: it lacks output\n", "a.jsonl: row 3: it lacks output", "check"),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried", "ran out of memory", "batch_size"),
        (
            "error: AssertionError: Invalid configuration: requested max tokens to generate (4096) must be "
            "less than model's maximum sequence length (2048).",
            "the answer may be 4096 tokens long and the model's whole context is 2048",
            "max_gen_toks",
        ),
        ("error: ValueError: Can't find 'adapter_config.json' at '/a/b'", "/a/b holds no adapter", "adapter"),
        ("error: ValueError: something new", "ValueError: something new", None),
        ("Traceback\nlast words", "last words", None),
    ],
)
def test_explain_failure(job: Job, log: str, message: str, hint: str | None) -> None:
    said, todo = ENGINE.explain_failure(job, log)
    assert message in said
    assert (todo is None) if hint is None else hint in (todo or "")
