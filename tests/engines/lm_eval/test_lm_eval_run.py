"""Real evaluations of a tiny model: all three tasks, killed and resumed, with an adapter."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval_case import TIMEOUT, finish, samples, start

from residency.engines.base import Job
from residency.engines.lm_eval.engine import ENGINE
from residency.files import read_json

pytestmark = pytest.mark.slow
MakeJob = Callable[..., Job]
WriteRows = Callable[..., Path]


def test_generation_and_likelihood(make_job: MakeJob, write_rows: WriteRows, tiny_model: Path) -> None:
    three = str(write_rows(6, "pubmedqa.jsonl", ("yes", "no", "maybe")))
    config = {
        "model": str(tiny_model),
        "tasks": ["study_questions", "pubmedqa", "pubmedqa_likelihood"],
        "data": {"study_questions": str(write_rows(5)), "pubmedqa": three, "pubmedqa_likelihood": three},
        "lm_eval": {"apply_chat_template": True, "batch_size": 2, "gen_kwargs": {"max_gen_toks": 5}},
    }
    job = make_job(config)
    finish(job, start(job))
    found = ENGINE.verify(job)
    assert set(found.metrics) == {
        f"{task}/{metric}" for task in config["tasks"] for metric in ("accuracy", "macro_f1")
    }
    results = read_json(job.outputs / "results.json")
    assert results["lm_eval_version"] == ENGINE.version()
    by_name = {(row["task"], row["metric"]): row for row in results["scores"]}
    # A random model writes no tags: nothing can be read, and nothing counts as right.
    assert by_name["study_questions", "accuracy"] | {"low": 0, "high": 0} == {
        **{"task": "study_questions", "metric": "accuracy", "value": 0.0, "n": 5, "low": 0, "high": 0},
        **{"level": 0.95, "method": "wilson", "unreadable": 5, "limited": False},
        "note": "n=5: a small sample",
    }
    # Likelihood always gives an answer.
    assert by_name["pubmedqa_likelihood", "accuracy"]["unreadable"] is None
    rows = samples(job)
    assert len(rows) == 17
    likely = [row for row in rows if row["task"] == "pubmedqa_likelihood"]
    assert all(row["extracted"] in ("yes", "no", "maybe") for row in likely)
    assert likely[0]["prompt"].endswith("<|im_start|>assistant\n<answer>")
    first = rows[0]
    assert first["id"] == "1000:humans"
    assert first["target"] == "yes"
    assert first["prompt"].endswith("<|im_end|>\n<|im_start|>assistant\n")
    assert "<|im_start|>user\nWere the subjects human" in first["prompt"]
    # 5 and 6 questions that are generated, 6 with three choices each
    assert ENGINE.progress(job).step == ENGINE.progress(job).total == 29


def test_killed_and_resumed_ends_the_same(make_job: MakeJob, write_rows: WriteRows, tiny_model: Path) -> None:
    config = {
        "model": str(tiny_model),
        "tasks": ["study_questions"],
        "data": {"study_questions": str(write_rows(80))},
        # Sampled and in bfloat16: another batching or another seed would show.
        "lm_eval": {
            "batch_size": 2,
            "model_args": {"dtype": "bfloat16"},
            "gen_kwargs": {"do_sample": True, "temperature": 1.0, "max_gen_toks": 24},
        },
    }
    whole, killed = make_job(config, "whole"), make_job(config, "killed")
    finish(whole, start(whole))
    process = start(killed)
    kept = killed.folder / "answers-0.jsonl"
    deadline = time.monotonic() + TIMEOUT
    while not kept.exists() or kept.read_bytes().count(b"\n") < 10:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    before = kept.read_bytes().count(b"\n") - 1
    assert before < 40, "it was done before it was killed"
    assert not (killed.outputs / "results.json").exists()
    resumed = ENGINE.resume(killed)
    assert resumed is not None
    assert resumed.endswith("answered requests")
    log = finish(killed, start(killed))
    assert f"going on: {before} batches" in log
    assert ENGINE.verify(killed).metrics == ENGINE.verify(whole).metrics
    for name in ("samples.jsonl", "results.json"):
        assert (killed.outputs / name).read_bytes() == (whole.outputs / name).read_bytes()


def test_adapter_limit_and_long_prompts(make_job: MakeJob, write_rows: WriteRows, tiny_model: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    torch.manual_seed(1)
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1.0)
    config: dict[str, Any] = {
        "model": str(tiny_model),
        "tasks": ["study_questions"],
        "data": {"study_questions": str(write_rows(5))},
        "limit": 3,
        "lm_eval": {"apply_chat_template": True, "model_args": {"max_length": 40}},
    }
    plain = make_job(config, "plain")
    folder = plain.recipe_folder / "adapter"
    adapted.save_pretrained(folder)
    with_adapter = make_job({**config, "adapter": "./adapter"}, "adapted")
    for job in (plain, with_adapter):
        log = finish(job, start(job))
        assert "3 of 3 prompts are longer than the model's context" in log
        results = read_json(job.outputs / "results.json")
        assert results["tasks"]["study_questions"]["too_long"] == 3
        assert results["tasks"]["study_questions"]["rows"] == 5
        assert results["scores"][0]["limited"] is True
        assert results["scores"][0]["note"] == "n=3: a smoke figure, the set was cut by a limit"
        assert any("longer than the model's context" in w for w in ENGINE.verify(job).warnings)
    outputs = [[row["output"] for row in samples(job)] for job in (plain, with_adapter)]
    assert outputs[0] != outputs[1]


def test_a_bad_row_is_explained(make_job: MakeJob, tmp_path: Path, tiny_model: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"instruction": "a", "output": "yes"}\n')
    job = make_job(
        {"model": str(tiny_model), "tasks": ["study_questions"], "data": {"study_questions": str(path)}}
    )
    process = start(job)
    assert process.wait(TIMEOUT) == 1
    message, hint = ENGINE.explain_failure(job, (job.folder / "log.txt").read_text())
    assert message.startswith(f"{path}: row 1: its output has no <answer>")
    assert hint is not None
    assert not job.outputs.exists()
