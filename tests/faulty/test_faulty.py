"""Faulty recipes, each with the line and the code that `check` must report, and no other.

A `.txt` file beside this one holds the cases. `=== NAME [options]` opens one; what follows is
`recipe.yaml`, then `--- FILE` for each further file. `#! code …` stands on the faulty line;
where a comment cannot stand there, `#!LINE code` or `#!FILE:LINE code` stands anywhere. A mistake is
reported once: two of one code on one line are marked `#! code code`.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from residency.plan.check import check
from residency.recipe.codes import CODES

HERE = Path(__file__).parent
BASE = """model_name_or_path: org/model
  template: llama3
  do_train: true
  stage: sft
  finetuning_type: lora"""
VERL = """verl:
  algorithm.adv_estimator: grpo
  trainer.total_training_steps: 4
  actor_rollout_ref.model.path: org/model
  actor_rollout_ref.actor.use_dynamic_bsz: true
  actor_rollout_ref.rollout.name: vllm
  actor_rollout_ref.rollout.log_prob_use_dynamic_bsz: true
  actor_rollout_ref.rollout.n: 4"""
RLVR = """kind: rlvr
dataset: example_alpaca
rewards: [{fn: residency.engines.verl.default_reward.score, max: 1.0}]
hardware: gpu
resources: {gpus: 2}
verl:
  algorithm: {adv_estimator: grpo}
  data: {train_batch_size: 16, max_prompt_length: 256, max_response_length: 256}
  actor_rollout_ref:
    model: {path: org/model}
    actor: {ppo_mini_batch_size: 8, ppo_micro_batch_size_per_gpu: 4}
    rollout: {name: vllm, n: 4, tensor_model_parallel_size: 1, log_prob_micro_batch_size_per_gpu: 8}
  trainer: {total_training_steps: 10}"""
ELSEWHERE = re.compile(r"^#!(?:(?P<file>.+):)?(?P<line>\d+) (?P<codes>[a-z -]+)$")
HERE_MARK = re.compile(r"\s*#! (?P<codes>[a-z -]+)$")

Expected = list[tuple[str, int, str]]


@dataclass
class Case:
    name: str
    options: list[str]
    files: dict[str, str] = field(default_factory=dict)
    expected: Expected = field(default_factory=list)


def cases() -> list[Case]:
    found: list[Case] = []
    for path in sorted(HERE.glob("*.txt")):
        for block in re.split(r"^=== ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            head, _, body = block.partition("\n")
            name, *options = shlex.split(head)
            case = Case(f"{path.stem}-{name}", options)
            for index, part in enumerate(re.split(r"^--- (.+)$\n?", body.rstrip("\n") + "\n", flags=re.M)):
                if index == 0:
                    add_file(case, "recipe.yaml", part)
                elif index % 2:
                    file = part.strip()
                else:
                    add_file(case, file, part)
            found.append(case)
    return found


def add_file(case: Case, name: str, text: str) -> None:
    lines: list[str] = []
    for mark, whole in (("%base", BASE), ("%verl", VERL), ("%rlvr", RLVR)):
        text = text.replace(mark, whole)
    for line in text.splitlines():
        moved = ELSEWHERE.match(line)
        if moved:
            case.expected += [
                (moved["file"] or name, int(moved["line"]), code) for code in moved["codes"].split()
            ]
            lines.append("#")
            continue
        here = HERE_MARK.search(line)
        if here:
            case.expected += [(name, len(lines) + 1, code) for code in here["codes"].split()]
            line = line[: here.start()]
        lines.append(line)
    if lines and lines[-1] == "" and name != "recipe.yaml":
        lines.pop()
    case.files[name] = "\n".join(lines) + "\n"


CASES = cases()


def test_there_are_enough_cases() -> None:
    assert len(CASES) >= 120
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(case.expected for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_mistake_is_found_where_it_is(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in case.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    profiles, overrides = [], []
    options = iter(case.options)
    for option in options:
        {"--profile": profiles, "--set": overrides}[option].append(next(options))
    found = check(Path("recipe.yaml"), profiles=profiles, overrides=overrides).found
    got = [(d.span.file, d.span.line, d.code) for d in found]
    assert all(code in CODES for *_, code in got)
    assert sorted(got) == sorted(case.expected), "\n".join(
        f"{d.span.file}:{d.span.line}: {d.code}: {d.message} ({d.hint})" for d in found
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_case_without_its_mistake_marker_is_text(case: Case) -> None:
    """The markers are gone from what is checked, so that they cannot help the checker."""
    assert not any("#!" in text for text in case.files.values())
