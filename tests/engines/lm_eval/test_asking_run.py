"""Real evaluations of a tiny model on questions with options: two steps, several answers, kill and resume."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval_case import finish, samples, start

from residency.engines.base import Job
from residency.engines.lm_eval import questions
from residency.engines.lm_eval.engine import ENGINE
from residency.evaluation import prompts, styles
from residency.files import read_json

pytestmark = pytest.mark.slow
MakeJob = Callable[..., Job]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "choices.jsonl"
    found = [
        {
            "id": f"q{number}",
            "question": f"Which drug is given to rat {number}?",
            "options": dict(
                zip(
                    "ABCDEFGHIJ"[: 4 + number % 3],
                    ("one", "two", "three", "four", "five", "six"),
                    strict=False,
                )
            ),
            "label": "ABCD"[number % 4],
            "subject": "xy"[number % 2],
        }
        for number in range(24)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


def test_the_prompts_of_older_tasks_are_those_of_lm_eval(
    write_rows: Callable[..., Path], tiny_model: Path
) -> None:
    """What our messages make of PubMedQA's questions is what lm-eval makes of the task's fields."""
    from lm_eval.api.task import ConfigurableTask
    from transformers import AutoTokenizer

    from residency.engines.lm_eval import asking

    path = write_rows(3)
    rows = [json.loads(line) | {"system": "Be brief."} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def template(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> Any:
        return tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )

    for prefix in (None, "<answer>"):
        for chat in (True, False):
            task = ConfigurableTask(
                config={
                    "task": "t",
                    "custom_dataset": questions.rows,
                    "dataset_kwargs": {"data_files": {"test": str(path)}, "labels": ["yes", "no"]},
                    "test_split": "test",
                    "output_type": "generate_until",
                    "description": "system" if chat else "{{system}}\n\n",
                    "doc_to_text": "question" if chat else "{{question}}\n",
                    "doc_to_target": "answer",
                    "target_delimiter": "",
                    "metric_list": [{"metric": "accuracy", "aggregation": "mean", "higher_is_better": True}],
                    "process_results": questions.score,
                }
            )
            asked = {"apply_chat_template": chat, "chat_template": template, "gen_prefix": prefix}
            before = [task.fewshot_context(doc, 0, **asked) for doc in task.eval_docs]
            asking.attach({"t": task})
            assert [task.fewshot_context(doc, 0, **asked) for doc in task.eval_docs] == before


def test_two_steps_killed_and_resumed(make_job: MakeJob, rows: Path, tiny_model: Path) -> None:
    style = {"style": "cot", "max_tokens": 12, "then_tokens": 4}
    config = {
        "model": str(tiny_model),
        "tasks": ["medxpertqa", "medqa"],
        "data": {"medxpertqa": str(rows), "medqa": str(rows)},
        "prompt": style,
        "lm_eval": {
            "apply_chat_template": True,
            "batch_size": 2,
            "gen_kwargs": {"do_sample": True, "temperature": 1.0},
        },
    }
    whole, killed = make_job(config, "whole"), make_job(config, "killed")
    finish(whole, start(whole))
    process = start(killed)
    kept = killed.folder / "answers-0.jsonl"
    deadline = time.monotonic() + 600
    while not kept.exists() or kept.read_bytes().count(b"\n") < 30:  # 24 batches of reasoning come first
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    assert not (killed.outputs / "results.json").exists()
    assert "going on: " in finish(killed, start(killed))
    for name in ("samples.jsonl", "results.json"):
        assert (killed.outputs / name).read_bytes() == (whole.outputs / name).read_bytes()

    found = samples(whole)
    assert len(found) == 48
    assert all(row["reasoning"] and row["then"].startswith("Therefore, among A through ") for row in found)
    assert {row["then"][27:28] for row in found} == {"D", "E", "F"}
    results = read_json(whole.outputs / "results.json")
    assert {row["metric"] for row in results["scores"]} == {"accuracy", "accuracy_lenient"}
    assert all(row["unreadable"] is not None for row in results["scores"])
    about = results["tasks"]["medqa"]
    assert about["version"] == 1
    assert about["readings"]["strict"] == "residency.evaluation.extract.whole"
    asked = styles.style(styles.read(styles.own(whole.project)["cot"]) | {"max_tokens": 12, "then_tokens": 4})
    expected = [prompts.render(one, asked) for one in questions.load(rows, ())]
    assert about["prompt_hash"] == prompts.prompt_hash(expected)
    assert ENGINE.progress(whole).step == ENGINE.progress(whole).total == 96
    ENGINE.verify(whole)


def test_several_answers_to_each_question(make_job: MakeJob, rows: Path, tiny_model: Path) -> None:
    config = {
        "model": str(tiny_model),
        "tasks": ["medmcqa"],
        "data": {"medmcqa": str(rows)},
        "samples": 3,
        "limit": 5,
        "prompt": {"style": "few_shot", "examples": str(rows), "shots": 2, "chat": True},
        "lm_eval": {"gen_kwargs": {"do_sample": True, "temperature": 1.0, "max_gen_toks": 6}},
    }
    job = make_job(config)
    finish(job, start(job))
    found = samples(job)
    assert len(found) == 5
    assert all(len(row["outputs"]) == len(row["all_extracted"]) == 3 for row in found)
    assert len({tuple(row["outputs"]) for row in found}) == 5
    assert any(len(set(row["outputs"])) == 3 for row in found), "they are samples, not copies"
    assert all(row["prompt"].count("<|im_start|>user") == 3 for row in found), "two examples"
    results = read_json(job.outputs / "results.json")
    assert results["tasks"]["medmcqa"]["answers_each"] == 3
    assert set(results["tasks"]["medmcqa"]["by"]) == {"x", "y"}
    figures = {row["metric"]: row for row in results["scores"]}
    assert {"accuracy", "pass@1", "pass@2", "pass@3", "maj@3", "maj@3_lenient"} <= set(figures)
    assert figures["pass@1"]["value"] == pytest.approx(figures["accuracy"]["value"])
    warnings = ENGINE.verify(job).warnings
    assert any("of 15 answers could not be read" in warning for warning in warnings)
