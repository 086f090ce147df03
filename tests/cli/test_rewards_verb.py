"""`launch.py rewards test`: what it prints, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from residency.cli.main import main
from residency.paths import PROJECT

VERL = """
verl:
  algorithm.adv_estimator: grpo
  trainer.total_training_steps: 4
  actor_rollout_ref.model.path: org/model
  actor_rollout_ref.actor.use_dynamic_bsz: true
  actor_rollout_ref.rollout.name: vllm
  actor_rollout_ref.rollout.log_prob_use_dynamic_bsz: true
  actor_rollout_ref.rollout.n: 4
"""
SOUND = "{fn: rewards.study_questions.answer, name: answer}"
PUBLISHED = "{fn: rewards.pubmedqa.published}"
PIPELINE = """
kind: pipeline
name: both
stages:
  data:
    kind: data
    sources: {{made: {{url: rows.jsonl}}}}
    datasets: {{questions: {{from: made, format: alpaca}}}}
  train:
    kind: rlvr
    dataset: ${{stages.data.outputs.questions}}
    rows: {{ground_truth: label}}
    rewards: [{reward}]
{verl}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESIDENCY_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("RESIDENCY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESIDENCY_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "rows.jsonl").open("w") as stream:
        for number in range(90):
            label = "yes" if number % 3 else "no"
            row = {"instruction": f"Is {number} so?", "output": f"<answer>{label}</answer>", "label": label}
            stream.write(json.dumps(row) + "\n")
    return tmp_path


def recipe(folder: Path, reward: str, *more: str, dataset: str = "rows.jsonl") -> str:
    path = folder / "recipe.yaml"
    lines = ["kind: rlvr", f"dataset: {dataset}", f"rewards: [{reward}]", *more]
    path.write_text("\n".join(lines) + VERL)
    return str(path)


def test_sound_rewards(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", "test", recipe(folder, SOUND)]) == 0
    said = capsys.readouterr().out
    assert "stage rlvr: 64 rows tried; a right answer must score 1" in said
    assert "the gold check is passed" in said
    (gold,) = [line for line in said.splitlines() if line.startswith("gold ")]
    assert gold.split() == ["gold", "64", "1.000", "1.000", "0"]


def test_unsound_rewards(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rewards", "test", recipe(folder, PUBLISHED), "--rows", "20"]) == 4
    said = capsys.readouterr().out
    assert "row 1, gold: it scores 2.4 and not 2.8" in said
    assert "ground truth  'no'" in said
    assert "and 15 more of gold" in said
    assert "the recipe writes it: `rows: {gold:" in said
    assert main(["rewards", "test", recipe(folder, PUBLISHED), "--rows", "2", "--format", "json"]) == 4
    found = json.loads(capsys.readouterr().out)["rlvr"]
    assert (found["ok"], found["rows"]) == (False, 2)
    assert {"row", "case", "answer", "ground_truth", "components"} <= found["failures"][0].keys()


def test_what_the_recipe_says_of_the_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = "gold_check: {rows: 3, corruptions: [empty]}"
    assert main(["rewards", "test", recipe(folder, SOUND, more)]) == 0
    said = capsys.readouterr().out
    assert "3 rows tried" in said
    assert "prompt echoed" not in said
    assert main(["rewards", "test", recipe(folder, SOUND, "gold_check: false")]) == 0, "asked for, it is made"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            {"reward": "{fn: rewards.study_questions.anwser}"},
            2,
            "did you mean `rewards.study_questions.answer`",
        ),
        ({"reward": SOUND, "dataset": "rosw.jsonl"}, 2, "rosw.jsonl is not there"),
        ({"reward": SOUND, "more": "rows: {ground_truth: lable}"}, 2, "did you mean `label`?"),
        (
            {"reward": "{fn: rewards.multiple_choice.answer}"},
            4,
            "it could not be scored: `multiple_choice.answer`",
        ),
    ],
)
def test_mistakes(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: dict[str, str], code: int, says: str
) -> None:
    more = [arguments.pop("more")] if "more" in arguments else []
    reward = arguments.pop("reward")
    assert main(["rewards", "test", recipe(folder, reward, *more, **arguments)]) == code
    said = capsys.readouterr()
    assert says in said.out + said.err
    assert "Traceback" not in said.err


def test_options(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = recipe(folder, SOUND)
    for given, says in (
        (["--rows", "0"], "at least one row"),
        (["--stage", "other"], "there are: rlvr"),
        (["--row", "3", "--nonsense"], "takes no --nonsense"),
    ):
        assert main(["rewards", "test", path, *given]) == 2
        assert says in capsys.readouterr().err
    (folder / "export.yaml").write_text("kind: export\nmodel: org/model\n")
    assert main(["rewards", "test", str(folder / "export.yaml")]) == 2
    assert "trains with no rewards" in capsys.readouterr().err


def test_rows_that_another_stage_makes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "both.yaml"
    path.write_text(
        PIPELINE.format(
            reward=SOUND, verl=VERL.strip("\n").replace("\n", "\n    ").replace("verl", "    verl", 1)
        )
    )
    assert main(["rewards", "test", str(path)]) == 3
    said = capsys.readouterr().err
    assert "from stage data, which has not run" in said
    assert f"`python launch.py {path} --only data`" in said
    assert main([str(path), "--only", "data", "--plain"]) == 0
    capsys.readouterr()
    assert main(["rewards", "test", str(path)]) == 0
    assert "stage train: 64 rows tried" in capsys.readouterr().out


def test_a_verifier_that_another_stage_makes(capsys: pytest.CaptureFixture[str]) -> None:
    path = str(PROJECT / "recipes" / "examples" / "ppo_verifier.yaml")
    assert main(["rewards", "test", path, "--profile", "smoke"]) == 3
    said = capsys.readouterr().err
    assert "takes its reward `verifier` from stage verifier, which has not run" in said
    made = [f"launch.py {path} --profile smoke --only {name}`" for name in ("model", "data", "verifier")]
    assert [said.find(command) for command in made] == sorted(said.find(command) for command in made)
    assert all(command in said for command in made)
    assert "--only sft`" not in said
