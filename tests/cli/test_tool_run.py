"""GRPO with a tool on a CPU: calls, a tool's answers, rewards for the model's own words; killed, resumed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import taught_model
import yaml

from rewards import format, number

pytestmark = [pytest.mark.slow, pytest.mark.long]
PROJECT = Path(__file__).resolve().parents[2]
RECIPE = PROJECT / "recipes" / "examples" / "grpo_calculator.yaml"
STEPS = 3
CALL = {"name": "calculate", "arguments": {"expression": "2*3"}}
TOLD = "<tool_response>\n6\n</tool_response>"
SAYS, HIDES = "<answer>6</answer>", "I will not say."
"""The model's last turns, one as likely as the other."""


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def written() -> tuple[str, str, list[str]]:
    """The recipe's system prompt, the smoke profile's chat template, and the tools."""
    recipe = yaml.safe_load(RECIPE.read_text())
    stage = recipe["stages"]["grpo"]
    model = recipe["profiles"]["smoke"]["stages"]["grpo"]["verl"]["actor_rollout_ref"]["model"]
    return stage["rows"]["system"], model["custom_chat_template"], stage["tools"]


def dialogue(question: str, last: str) -> list[dict[str, Any]]:
    return taught_model.dialogue(written()[0], question, CALL, "6", last)


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return [f"{a} mg of {drug} are ordered." for drug in ("iron", "zinc") for a in range(2, 8)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, questions: list[str]) -> Path:
    """A tiny model that nearly always calls the calculator, and then says what it was told or does not."""
    _, template, tools = written()
    dialogues = [dialogue(one, last) for one in questions for last in (SAYS, HIDES)]
    return taught_model.teach(tmp_path_factory.mktemp("taught"), dialogues, template, tools)


def test_the_template_shows_calls_as_they_are_read(model: Path) -> None:
    pytest.importorskip("verl")
    from transformers import AutoTokenizer
    from verl.experimental.agent_loop.tool_parser import ToolParser

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.chat_template = written()[1]
    shown = tokenizer.apply_chat_template(dialogue("?", SAYS)[:3], tokenize=False)
    _, _, turn = shown.rpartition("<|im_start|>assistant\n")
    parser = ToolParser.get_tool_parser("hermes", tokenizer)
    ids = tokenizer(turn, add_special_tokens=False)["input_ids"]
    _, (call,) = asyncio.run(parser.extract_tool_calls(ids))
    assert {"name": call.name, "arguments": json.loads(call.arguments)} == CALL


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="kills process groups")
def test_killed_and_resumed(tmp_path: Path, model: Path, questions: list[str]) -> None:
    pytest.importorskip("verl")
    data = tmp_path / "questions.jsonl"
    made = [{"instruction": one, "output": SAYS, "answer": "6"} for one in questions]
    data.write_text("".join(json.dumps(row) + "\n" for row in made))
    (tmp_path / "model.yaml").write_text(f"kind: export\nmodel: {model}\n")
    sets = [
        f"stages.model.recipe={tmp_path / 'model.yaml'}",
        f"stages.grpo.dataset={data}",
        # The whole of what the reward is given, so that a word of the tool's in it would show.
        "stages.grpo.rewards.0.args.tag=null",
        "stages.grpo.rollouts.per_step=8",
        "params.generations=4",
        "params.answer_tokens=160",
    ]
    argv = [sys.executable, str(PROJECT / "launch.py"), str(RECIPE), "--plain", "--profile", "smoke"]
    argv += [word for one in sets for word in ("--set", one)]
    runs = tmp_path / "runs"
    env = {**os.environ, "RESIDENCY_RUNS": str(runs), "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    stage = runs / "grpo-calculator" / "latest" / "stages" / "grpo"

    with (tmp_path / "first.txt").open("wb") as said:
        launcher = subprocess.Popen(argv, cwd=PROJECT, env=env, stdout=said, stderr=said)
    deadline = time.monotonic() + 600
    while not list(stage.glob("checkpoints/global_step_*/residency.json")):
        assert launcher.poll() is None, (tmp_path / "first.txt").read_text()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()

    last = subprocess.run(argv, cwd=PROJECT, env=env, capture_output=True, text=True, timeout=600)
    assert last.returncode == 0, last.stdout + last.stderr
    state = json.loads((stage / "state.json").read_text())
    assert (state["status"], state["metrics"]["steps"]) == ("done", STEPS)
    assert state["resumed_from"] is not None
    logged = rows(stage / "metrics.jsonl")
    assert [row["step"] for row in logged] == list(range(1, STEPS + 1))
    assert all(row["turns"] >= 2 for row in logged)

    rollouts = rows(stage / "outputs" / "rollouts.jsonl")
    assert sum(TOLD in row["answer"] for row in rollouts) > len(rollouts) / 2
    earned: dict[str, set[float]] = {SAYS: set(), HIDES: set()}
    for row in rollouts:
        _, _, own = row["answer"].rpartition("\nassistant\n")  # the last turn; all of it when it is one
        right = number.answer("", own, "6", tag=None)
        form = format.xml_tags("", own, "6", tags=["answer"])
        assert row["components"] == {"answer": right, "format": form}
        if TOLD in row["answer"] and own in earned:
            earned[own].add(round(row["reward"], 6))
    # Both heard the right number from the tool; the one that did not say it earned nothing.
    assert earned == {SAYS: {1.2}, HIDES: {0.0}}
