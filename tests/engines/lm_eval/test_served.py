"""Evaluations over an endpoint: as in process, and with every fault that a server can have."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from openai_stub import Answer, Stub, text
from tiny_server import TinyServer

from residency.engines.base import Job
from residency.engines.lm_eval import main
from residency.engines.lm_eval.engine import ENGINE, SERVED
from residency.files import read_json

pytestmark = pytest.mark.slow
MakeJob = Callable[..., Job]
WriteRows = Callable[..., Path]
QUICK = {"retries": 1, "timeout": 20}


def written(job: Job, engine: Any = SERVED) -> Any:
    """What the runner does before a start."""
    launch = engine.prepare(job)
    engine.resume(job)
    for name, content in launch.files.items():
        path = job.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return launch


def run(job: Job, engine: Any = SERVED) -> int:
    """The stage's command, in this process."""
    written(job, engine)
    return main.main([str(job.folder / "stage.yaml")])


def samples(job: Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.outputs / "samples.jsonl").read_text("utf-8").splitlines()]


def over(url: str, questions: Path, **more: Any) -> dict[str, Any]:
    """A recipe that sends messages."""
    config = {
        "endpoint": {"url": url, **QUICK, **more.pop("endpoint", {})},
        "tasks": ["study_questions"],
        "data": {"study_questions": str(questions)},
    }
    return config | more


def test_served_equals_in_process(make_job: MakeJob, write_rows: WriteRows, tiny_model: Path) -> None:
    three = str(write_rows(6, "pubmedqa.jsonl", ("yes", "no", "maybe")))
    config: dict[str, Any] = {
        "model": str(tiny_model),
        "tasks": ["study_questions", "pubmedqa_likelihood"],
        "data": {"study_questions": str(write_rows(7)), "pubmedqa_likelihood": three},
    }
    here = {"apply_chat_template": True, "gen_kwargs": {"max_gen_toks": 9, "until": ["x", "zz"]}}
    local = make_job({**config, "lm_eval": {**here, "model_args": {"dtype": "float32"}}}, "local")
    assert run(local, ENGINE) == 0
    server = TinyServer(tiny_model)
    try:
        endpoint = {"url": server.url, "concurrency": 4}
        served = make_job({**config, "lm_eval": here, "endpoint": endpoint}, "served")
        assert run(served) == 0
        chat = make_job(
            {
                **config,
                "tasks": ["study_questions"],
                "data": {"study_questions": config["data"]["study_questions"]},
                "endpoint": {**endpoint, "api": "chat"},
                "lm_eval": {"gen_kwargs": here["gen_kwargs"]},
            },
            "chat",
        )
        assert run(chat) == 0
    finally:
        server.stop()
    assert samples(served) == samples(local)
    assert any(row["output"] for row in samples(served))
    one, two, three_ = (read_json(job.outputs / "results.json") for job in (local, served, chat))
    assert two["scores"] == one["scores"]
    hashes = {name: about["prompt_hash"] for name, about in one["tasks"].items()}
    assert {name: about["prompt_hash"] for name, about in two["tasks"].items()} == hashes
    assert three_["tasks"]["study_questions"]["prompt_hash"] == hashes["study_questions"]
    assert len(set(hashes.values())) == 2
    outputs = [row["output"] for row in samples(chat)]
    assert outputs == [row["output"] for row in samples(local) if row["task"] == "study_questions"]
    assert samples(chat)[0]["prompt"].startswith("user: Were the subjects human?")
    assert one["engine"]["name"] == "transformers"
    assert two["engine"] == {
        **{"name": "stub", "version": None, "url": f"{server.url}/v1", "model": "m", "api": "completions"}
    }
    assert {row["task"] for row in two["scores"]} == set(config["tasks"])
    assert SERVED.verify(served).metrics == ENGINE.verify(local).metrics


def test_a_server_without_likelihoods(
    make_job: MakeJob, write_rows: WriteRows, tiny_model: Path, capsys: Any
) -> None:
    server = TinyServer(tiny_model, logprobs=False)
    task = "pubmedqa_likelihood"
    try:
        config = {"model": str(tiny_model), "tasks": [task], "data": {task: str(write_rows(3))}}
        job = make_job({**config, "endpoint": {"url": server.url}})
        assert run(job) == 4
    finally:
        server.stop()
    said, hint = SERVED.explain_failure(job, capsys.readouterr().out)
    assert "no log-probabilities of the prompt" in said
    assert "in process" in (hint or "")
    assert not (job.outputs / "results.json").exists()


def test_a_server_that_dies_half_way_and_comes_back(make_job: MakeJob, write_rows: WriteRows) -> None:
    """Nothing is scored, what was answered is kept, and only the rest is asked of its successor."""
    path = "/v1/chat/completions"

    def dies(_: str, body: dict[str, Any], before: int) -> Answer:
        return text("<answer>no</answer>", chat=True) if before < 12 else Answer(cut=True)

    first = Stub(dies)
    job = make_job(over(first.url, write_rows(30), endpoint={"concurrency": 3}))
    assert run(job) == 4
    first.stop()
    said, hint = SERVED.explain_failure(job, "")
    assert "was asked 2 times: it cannot be reached: the connection was cut" in said
    assert hint == "12 answers are kept: the same command asks only what is left"
    assert not (job.outputs / "results.json").exists()
    # At another port, as a service that was started again in another run.
    second = Stub(lambda *_: text("<answer>no</answer>", chat=True))
    job = make_job(over(second.url, write_rows(30), endpoint={"concurrency": 2}))
    assert SERVED.resume(job) == "12 answered requests"
    assert run(job) == 0
    second.stop()
    assert len(second.asked(path)) == 18
    asked = [json.dumps(body["messages"]) for body in (*first.asked(path)[:12], *second.asked(path))]
    assert len(set(asked)) == 30
    assert first.most_at_once <= 3
    assert SERVED.verify(job).metrics["study_questions/accuracy"] == 20 / 30
    assert SERVED.progress(job).step == SERVED.progress(job).total == 30


def test_nothing_there_and_a_wrong_key(
    make_job: MakeJob, write_rows: WriteRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = Stub(lambda *_: text("x", chat=True), key="sk-right")
    monkeypatch.setenv("A_KEY", "sk-wrong-0123456789")
    job = make_job(over(stub.url, write_rows(3), endpoint={"key_env": "A_KEY"}))
    assert run(job) == 3
    assert "does not take the key in A_KEY" in SERVED.explain_failure(job, "")[0]
    monkeypatch.delenv("A_KEY")
    assert run(job) == 3
    assert SERVED.explain_failure(job, "") == (
        "A_KEY is not set, which holds the endpoint's key",
        "export A_KEY=…",
    )
    written_files = "".join(p.read_text("utf-8") for p in job.folder.rglob("*") if p.is_file())
    assert "sk-wrong" not in written_files
    stub.stop()
    gone = make_job(over(stub.url, write_rows(3)), "gone")
    assert run(gone) == 3
    assert f"nothing answers at {stub.url}/v1" in SERVED.explain_failure(gone, "")[0]


def test_empty_answers_and_long_prompts_are_counted(make_job: MakeJob, write_rows: WriteRows) -> None:
    def behave(_: str, body: dict[str, Any], before: int) -> Answer:
        said = body["messages"][-1]["content"]
        if "Study 4." in said:
            message = "This model's maximum context length is 20 tokens."
            return Answer(400, {"error": {"message": message}})
        return text("" if "Study 2." in said else "<answer>no</answer>", chat=True)

    stub = Stub(behave)
    job = make_job(over(stub.url, write_rows(6)))
    assert run(job) == 0
    stub.stop()
    about = read_json(job.outputs / "results.json")["tasks"]["study_questions"]
    assert {k: about[k] for k in ("n", "too_long", "refused", "empty")} == {
        **{"n": 6, "too_long": 1, "refused": 1, "empty": 1}
    }
    found = SERVED.verify(job)
    # 0 and 3 are yes, 1 and 5 no and right; 2 has no text, 4 was not taken.
    assert found.metrics["study_questions/accuracy"] == 2 / 6
    assert any("1 of 6 answers are empty" in w for w in found.warnings)
    assert any("the server refused them" in w for w in found.warnings)
    assert any("2 of 6 answers could not be read" in w for w in found.warnings)


def test_a_long_prompt_is_cut_as_in_process(
    make_job: MakeJob, write_rows: WriteRows, tiny_model: Path
) -> None:
    server = TinyServer(tiny_model)
    try:
        config = {
            "model": str(tiny_model),
            "tasks": ["study_questions"],
            "data": {"study_questions": str(write_rows(5))},
            "endpoint": {"url": server.url, "context": 70},
            "lm_eval": {"gen_kwargs": {"max_gen_toks": 6}, "apply_chat_template": True},
        }
        job = make_job(config)
        assert run(job) == 0
    finally:
        server.stop()
    lengths = [len(body["prompt"]) for body in server.asked()]
    assert max(lengths) == 64
    about = read_json(job.outputs / "results.json")["tasks"]["study_questions"]
    assert about["too_long"] == sum(length == 64 for length in lengths)
    assert about["refused"] == 0


def test_sampled_answers_have_seeds_of_their_own(make_job: MakeJob, write_rows: WriteRows) -> None:
    stub = Stub(lambda *_: text("<answer>no</answer>", chat=True))
    settings = {"gen_kwargs": {"do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_gen_toks": 5}}
    job = make_job(over(stub.url, write_rows(4), lm_eval=settings))
    assert run(job) == 0
    stub.stop()
    bodies = stub.asked("/v1/chat/completions")
    assert len({body["seed"] for body in bodies}) == 4
    for body in bodies:
        assert {k: body[k] for k in ("temperature", "top_p", "max_tokens", "model")} == {
            **{"temperature": 0.7, "top_p": 0.9, "max_tokens": 5, "model": "m"}
        }
        assert "do_sample" not in body


def test_killed_and_resumed(make_job: MakeJob, write_rows: WriteRows) -> None:
    """SIGKILL in the middle: no question is asked twice, but those that were under way."""

    def slow(_: str, body: dict[str, Any], before: int) -> Answer:
        time.sleep(0.02)
        return text("<answer>no</answer>", chat=True)

    stub = Stub(slow)
    job = make_job(over(stub.url, write_rows(60), endpoint={"concurrency": 2}))
    launch = written(job)
    with (job.folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            launch.argv, cwd=job.folder, env={**os.environ, **launch.env}, stdout=log, stderr=log
        )
    until = time.monotonic() + 120
    while len(stub.asked("/v1/chat/completions")) < 20 and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    assert not (job.outputs / "results.json").exists()
    before = len(stub.asked("/v1/chat/completions"))
    assert 20 <= before < 60
    assert run(job) == 0
    stub.stop()
    asked = [json.dumps(body["messages"]) for body in stub.asked("/v1/chat/completions")]
    assert len(set(asked)) == 60
    assert len(asked) <= 62
    assert SERVED.verify(job).metrics["study_questions/accuracy"] == 40 / 60
