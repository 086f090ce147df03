"""GRPO with the search tool on a CPU: the service is started, asked by the model, and stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import taught_model
import yaml

from residency.retrieval.tool import estimated, told

pytestmark = [pytest.mark.slow, pytest.mark.long]
PROJECT = Path(__file__).resolve().parents[2]
EXAMPLES = PROJECT / "recipes" / "examples"
CALL = {"name": "search", "arguments": {"query_list": ["iron"]}}
IRON = {"id": "12", "title": "Iron in men", "text": "Iron was given to men."}
OTHERS = [
    {"id": str(at), "title": f"Study {at}", "text": f"Zinc {at} was given to rats."} for at in range(100, 130)
]
FOUND = told([[{**IRON, "contents": f'"{IRON["title"]}"\n{IRON["text"]}'}]], 1000, estimated)
SAYS, HIDES = "<answer>yes</answer>", "I will not say."


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def written() -> tuple[str, str, list[str]]:
    """The recipe's system prompt and tools, and the chat template of the recipe that it extends."""
    own = yaml.safe_load((EXAMPLES / "grpo_search.yaml").read_text())["stages"]["grpo"]
    below = yaml.safe_load((EXAMPLES / "grpo_calculator.yaml").read_text())
    model = below["profiles"]["smoke"]["stages"]["grpo"]["verl"]["actor_rollout_ref"]["model"]
    return own["rows"]["system"], model["custom_chat_template"], own["tools"]


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return [
        f"Title: {what} in {whom}" for what in ("Iron", "Zinc") for whom in ("men", "women", "boys", "girls")
    ]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, questions: list[str]) -> Path:
    """A tiny model that nearly always searches, and then says what it was told or does not."""
    system, template, tools = written()
    dialogues = [
        taught_model.dialogue(system, one, CALL, FOUND, last) for one in questions for last in (SAYS, HIDES)
    ]
    return taught_model.teach(tmp_path_factory.mktemp("taught"), dialogues, template, tools)


def test_the_model_searches(tmp_path: Path, model: Path, questions: list[str]) -> None:
    pytest.importorskip("verl")
    (tmp_path / "model.yaml").write_text(f"kind: export\nmodel: {model}\n")
    corpus, data = tmp_path / "corpus.jsonl", tmp_path / "questions.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in [IRON, *OTHERS]))
    made = [{"instruction": one, "output": SAYS, "label": "yes"} for one in questions]
    data.write_text("".join(json.dumps(row) + "\n" for row in made))
    sets = [
        f"stages.model.recipe={tmp_path / 'model.yaml'}",
        f"stages.index.corpus={corpus}",
        f"stages.grpo.dataset={data}",
        "stages.grpo.rollouts.per_step=8",
        "params.steps=1",
        "params.generations=4",
        "params.answer_tokens=200",
        "params.found_tokens=100",
    ]
    argv = [sys.executable, str(PROJECT / "launch.py"), str(EXAMPLES / "grpo_search.yaml"), "--plain"]
    argv += ["--profile", "smoke", *(word for one in sets for word in ("--set", one))]
    runs = tmp_path / "runs"
    env = {**os.environ, "RESIDENCY_RUNS": str(runs), "OMP_NUM_THREADS": "2", "CUDA_VISIBLE_DEVICES": ""}
    for stage in ("model", "index", "grpo"):  # without `data`, which reads real records
        done = subprocess.run(
            [*argv, "--only", stage], cwd=PROJECT, env=env, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "[service retriever] ready" in done.stdout
    assert "[service retriever] stopped" in done.stdout

    run = runs / "grpo-search" / "latest"
    (service,) = json.loads((run / "run.json").read_text())["services"]
    assert (service["status"], service["restarts"], service["used_by"]) == ("stopped", 0, ["grpo"])
    assert not Path(
        f"/proc/{json.loads((run / 'services/retriever/address.json').read_text())['pid']}"
    ).exists()
    stage_folder = run / "stages" / "grpo"
    state = json.loads((stage_folder / "state.json").read_text())
    assert (state["status"], state["metrics"]["steps"]) == ("done", 1)
    assert "service.retriever.engine" in state["parts"]
    assert service["url"] not in json.dumps(state["parts"])
    rollouts = rows(stage_folder / "outputs" / "rollouts.jsonl")
    asked = [row for row in rollouts if f"<tool_response>\n{FOUND}\n</tool_response>" in row["answer"]]
    assert len(asked) > len(rollouts) / 2
    earned = {
        last: {round(row["reward"], 6) for row in asked if row["answer"].endswith(last)}
        for last in (SAYS, HIDES)
    }
    assert earned[SAYS] <= {1.2}
    assert earned[HIDES] <= {0.0}
    assert earned[SAYS] or earned[HIDES]
