"""Answers to rows: asked once, kept, read as JSON, filtered, written as a dataset."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from openai_stub import Answer, Stub, text
from tiny_model import make_tiny_model
from tiny_server import TinyServer

from residency.engines.base import Job
from residency.engines.generate import main
from residency.engines.generate.engine import ENGINE
from residency.files import read_json
from residency.paths import PROJECT

CHAT = "/v1/chat/completions"
ROWS = [
    {"pmid": str(100 + i), "question": f"Is {i} even?", "label": "yes" if i % 2 == 0 else "no"}
    for i in range(12)
]
PROMPT = {"user": "{question}", "system": "Say <answer>yes</answer> or <answer>no</answer>."}


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """A job of kind `generate` over ROWS."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")

    def make(folder: str = "stage", **config: Any) -> Job:
        return Job(
            name="gen",
            kind="generate",
            config={"kind": "generate", "dataset": str(data), "prompt": PROMPT, **config},
            folder=tmp_path / folder,
            recipe_folder=tmp_path,
            project=PROJECT,
        )

    return make


def over(url: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "retries": 0, "timeout": 20, "concurrency": 3, **more}


def write(job: Job) -> Any:
    launch = ENGINE.prepare(job)
    ENGINE.resume(job)
    for name, content in launch.files.items():
        (job.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (job.folder / name).write_text(content, encoding="utf-8")
    return launch


def run(job: Job) -> int:
    write(job)
    return main.main([str(job.folder / "stage.yaml")])


def rows(job: Job, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (job.outputs / f"{name}.jsonl").read_text("utf-8").splitlines()]


def parity(path: str, body: dict[str, Any], before: int) -> Answer:
    """Always yes: right for every second row."""
    return text("<answer>yes</answer>", chat=True)


def test_rejection_sampling(job: Callable[..., Job]) -> None:
    stub = Stub(parity)
    one = job(endpoint=over(stub.url), filters=[{"reward": "rewards.pubmedqa.answer"}])
    assert run(one) == 0
    stub.stop()
    found = ENGINE.verify(one)
    assert {k: found.metrics[k] for k in ("rows", "samples", "kept", "dataset_rows", "tokens")} == {
        **{"rows": 12, "samples": 12, "kept": 6, "dataset_rows": 6, "tokens": 12}
    }
    kept = rows(one, "dataset")
    assert kept[0] == {
        "instruction": "Is 0 even?",
        "input": "",
        "output": "<answer>yes</answer>",
        "system": PROMPT["system"],
        "id": "100",
        "pmid": "100",
        "question": "Is 0 even?",
        "label": "yes",
    }
    assert [row["pmid"] for row in kept] == ["100", "102", "104", "106", "108", "110"]
    left_out = rows(one, "rejected")
    assert left_out[0] == {
        **{"id": "101", "row": 2, "sample": 0, "reason": "pubmedqa.answer below 1"},
        "text": "<answer>yes</answer>",
    }
    assert len(left_out) == 6
    every = rows(one, "samples")
    assert every[1]["samples"] == [
        {
            **{"text": "<answer>yes</answer>", "finish_reason": "stop", "tokens": 1, "prompt_tokens": 7},
            **{"scores": {"pubmedqa.answer": 0.0}, "why": "pubmedqa.answer below 1"},
        }
    ]
    assert every[1]["prompt"][-1] == {"role": "user", "content": "Is 1 even?"}
    report = read_json(one.outputs / "report.json")
    assert report["filters"] == {"pubmedqa.answer": {"n": 12, "mean": 0.5}}
    assert report["engine"]["api"] == "chat"


def test_what_is_sent(job: Callable[..., Job]) -> None:
    stub = Stub(parity)
    sampling = {"n": 3, "temperature": 0.7, "top_p": 0.9, "max_tokens": 9, "stop": "END", "seed": 5}
    sampling["extra"] = {"response_format": {"type": "json_object"}}
    assert run(job(endpoint=over(stub.url), sampling=sampling, limit=4)) == 0
    stub.stop()
    bodies = stub.asked(CHAT)
    assert len(bodies) == 12
    assert len({body["seed"] for body in bodies}) == 12
    for body in bodies:
        assert {k: v for k, v in body.items() if k not in ("seed", "messages")} == {
            "model": "m",
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 9,
            "stop": ["END"],
            "response_format": {"type": "json_object"},
        }
    assert stub.most_at_once <= 3


def test_answers_in_json_become_rows(job: Callable[..., Job]) -> None:
    def behave(path: str, body: dict[str, Any], before: int) -> Answer:
        asked = body["messages"][-1]["content"]
        number = int(asked.split()[1])
        pairs = [{"q": f"{number} and {k}?", "a": "½"} for k in range(number)]
        said = ["```json\n" + json.dumps(pairs) + "\n```", "not json", json.dumps(pairs), '[{"q": 1}]'][
            number % 4
        ]
        return text(said, chat=True)

    schema = {
        "type": "array",
        "minItems": 1,
        "items": {"type": "object", "required": ["q", "a"], "properties": {"q": {"type": "string"}}},
    }
    stub = Stub(behave)
    config = {"endpoint": over(stub.url), "limit": 8, "json": schema, "keep": ["pmid"]}
    one = job(**config, output={"instruction": "{json.q}", "output": "{json.a} {label}"})
    assert run(one) == 0
    stub.stop()
    kept = rows(one, "dataset")
    # Row 0 has no pair; 2, 4 and 6 have as many as their number.
    assert [row["instruction"] for row in kept] == [f"{n} and {k}?" for n in (2, 4, 6) for k in range(n)]
    assert kept[0] == {
        **{
            "instruction": "2 and 0?",
            "input": "",
            "output": "½ yes",
            "system": "",
            "id": "102",
            "pmid": "102",
        }
    }
    report = read_json(one.outputs / "report.json")
    assert report["rejected"] == {"against the schema": 3, "not JSON": 2}
    assert [row["reason"][:18] for row in rows(one, "rejected")] == [
        *("against the schema", "not JSON: Expectin", "against the schema", "not JSON: Expectin"),
        "against the schema",
    ]


def test_a_filter_that_fails_is_no_judgement(job: Callable[..., Job]) -> None:
    stub = Stub(parity)
    one = job(
        endpoint=over(stub.url), filters=[{"reward": "rewards.pubmedqa.answer", "ground_truth": "pmid"}]
    )
    assert run(one) == 4
    stub.stop()
    said, hint = ENGINE.explain_failure(one, "")
    assert said.startswith("the filter pubmedqa.answer failed on all 12 answers")
    assert "12 answers are kept" in (hint or "")
    assert not (one.outputs / "dataset.jsonl").exists()


def test_nothing_left_is_a_failure(job: Callable[..., Job]) -> None:
    stub = Stub(lambda path, body, before: text("", chat=True))
    one = job(endpoint=over(stub.url))
    assert run(one) == 4
    stub.stop()
    assert "no row is left for the dataset: 12 an empty answer" in ENGINE.explain_failure(one, "")[0]


def test_best_and_first(job: Callable[..., Job]) -> None:
    stub = Stub(lambda path, body, before: text("word " * (1 + before % 3), chat=True))
    config = {
        "endpoint": over(stub.url, concurrency=1),
        "limit": 2,
        "sampling": {"n": 3, "temperature": 1.0},
        "filters": [{"fn": "test_generate_run.length", "name": "length", "min": 2}],
    }
    best, first = job("best", take="best", **config), job("first", take="first", **config)
    assert run(best) == 0
    assert run(first) == 0
    stub.stop()
    assert [row["output"] for row in rows(best, "dataset")] == ["word word word "] * 2
    assert [row["output"] for row in rows(first, "dataset")] == ["word word "] * 2


def length(row: dict[str, Any], sample: dict[str, Any]) -> int:
    """A filter of this test's own."""
    assert "question" in row
    return len(sample["text"].split())


def test_a_server_that_dies_and_rows_that_cannot_be_asked(job: Callable[..., Job], tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("a", encoding="utf-8") as stream:
        stream.write('{"pmid": "7"}\nnot json\n')
    first = Stub(lambda path, body, n: text("yes", chat=True) if n < 5 else Answer(500, {"error": "dead"}))
    one = job(endpoint=over(first.url, concurrency=1))
    assert run(one) == 4
    first.stop()
    said, hint = ENGINE.explain_failure(one, "")
    assert "was asked once: it answered 500: dead" in said
    assert hint == "5 answers are kept: the same command asks only for what is left"
    second = Stub(lambda path, body, n: text("yes", chat=True))
    one = job(endpoint=over(second.url))
    assert ENGINE.resume(one) == "5 answers"
    assert run(one) == 0
    second.stop()
    assert len(second.asked(CHAT)) == 7
    found = ENGINE.verify(one)
    assert found.metrics["dataset_rows"] == 12
    assert found.metrics["rows"] == 13
    assert found.warnings == ("left out: 1 no prompt: it has no `question`", "left out: 1 the file: not JSON")
    # Everything is there: no server is looked for.
    assert run(one) == 0


def test_long_prompts_are_counted_and_other_refusals_stop(job: Callable[..., Job]) -> None:
    def behave(path: str, body: dict[str, Any], before: int) -> Answer:
        if "Is 3" in body["messages"][-1]["content"]:
            return Answer(400, {"error": {"message": "context_length_exceeded"}})
        return text("yes", chat=True)

    stub = Stub(behave)
    one = job(endpoint=over(stub.url))
    assert run(one) == 0
    stub.stop()
    assert ENGINE.verify(one).warnings == ("left out: 1 the prompt does not fit into the model's context",)
    gone = Stub(lambda *_: Answer(404, {"error": {"message": "no such model"}}))
    one = job("gone", endpoint=over(gone.url, model="x"))
    assert run(one) == 4
    gone.stop()
    assert "answered 404: no such model" in ENGINE.explain_failure(one, "")[0]


def test_nobody_there(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    stub = Stub(parity, key="right")
    one = job(endpoint=over(stub.url, key_env="A_KEY"))
    monkeypatch.delenv("A_KEY", raising=False)
    assert run(one) == 3
    assert "A_KEY is not set" in ENGINE.explain_failure(one, "")[0]
    monkeypatch.setenv("A_KEY", "wrong")
    assert run(one) == 3
    assert "does not take the key in A_KEY" in ENGINE.explain_failure(one, "")[0]
    stub.stop()


def test_killed_and_resumed(job: Callable[..., Job]) -> None:
    """SIGKILL in the middle: nothing is asked twice but what was under way."""

    def slow(path: str, body: dict[str, Any], before: int) -> Answer:
        time.sleep(0.03)
        return text("yes", chat=True)

    stub = Stub(slow)
    one = job(endpoint=over(stub.url, concurrency=2), sampling={"n": 4, "temperature": 1.0})
    launch = write(one)
    process = subprocess.Popen(launch.argv, cwd=one.folder, env={**os.environ, **launch.env})
    until = time.monotonic() + 60
    while len(stub.asked(CHAT)) < 15 and time.monotonic() < until:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(20)
    before = len(stub.asked(CHAT))
    assert 15 <= before < 48
    assert run(one) == 0
    stub.stop()
    asked = [(json.dumps(b["messages"]), b["seed"]) for b in stub.asked(CHAT)]
    assert len(set(asked)) == 48
    assert len(asked) <= 50
    assert ENGINE.verify(one).metrics["dataset_rows"] == 48


@pytest.mark.slow
def test_in_process_equals_served(job: Callable[..., Job], tmp_path: Path) -> None:
    """The same prompts and, greedy, the same answers from transformers here and behind a server."""
    model = make_tiny_model(tmp_path / "tiny", [json.dumps(row) for row in ROWS], tied=False)
    config = {"model": str(model), "sampling": {"max_tokens": 8}, "dtype": "float32", "batch": 5}
    local = job("local", **config)
    assert run(local) == 0
    server = TinyServer(model)
    served = job("served", **config, endpoint=over(server.url))
    assert run(served) == 0
    server.stop()
    assert rows(served, "dataset") == rows(local, "dataset")
    one, two = (rows(j, "samples") for j in (local, served))
    assert [r["samples"][0]["tokens"] for r in one] == [r["samples"][0]["tokens"] for r in two]
    assert read_json(local.outputs / "report.json")["engine"]["name"] == "transformers"
    sampled = {**config, "sampling": {"n": 2, "temperature": 1.0, "max_tokens": 6, "seed": 3}}
    one_job, two_job = job("s1", **sampled), job("s2", **sampled)
    assert run(one_job) == 0
    assert run(two_job) == 0
    assert rows(one_job, "dataset") == rows(two_job, "dataset")
    assert len({row["output"] for row in rows(one_job, "dataset")}) > 12
    # Killed after two batches of five, and gone on with.
    kept = two_job.folder / "answers.jsonl"
    kept.write_bytes(b"".join(kept.read_bytes().splitlines(keepends=True)[:11]))
    assert run(two_job) == 0
    assert rows(two_job, "dataset") == rows(one_job, "dataset")


def test_the_command_by_hand(job: Callable[..., Job]) -> None:
    one = job(endpoint={"url": "http://127.0.0.1:9", "retries": 0})
    write(one)
    (one.folder / "stage.yaml").write_text(yaml.safe_dump({"data": [str(one.folder / "none.jsonl")]}))
    assert main.main([str(one.folder / "stage.yaml")]) == 3
    assert "none.jsonl is not there" in ENGINE.explain_failure(one, "")[0]
    assert sys.executable == ENGINE.prepare(one).argv[0]
