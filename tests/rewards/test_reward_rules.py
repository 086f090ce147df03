"""The rules of rewards that need what is known of the functions; the others stand in tests/faulty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from residency.plan.check import check as check_recipe
from residency.recipe import dotted_probe
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.rewards.check import check_functions

PROJECT = Path(__file__).resolve().parents[2]

OWN = """
from residency.rewards.functions import batched, scores

def bare(data_source, solution_str, ground_truth, extra_info=None): ...

@scores(0.0, 2.0)
def ranged(solution_str): ...

@scores(0.0, lambda args: args["most"])
def dependent(solution_str, *, most: float = 1.0): ...

@scores(-1.0, 0.0)
@batched
async def many(solution_strs, ground_truths, *, k: int): ...

def anything(**given): ...
def answerless(ground_truth): ...
def misnamed(data_source, solution_string, ground_truth): ...
def by_place(data_source, solution_str, /, ground_truth): ...
@batched
def one(solution_str): ...
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "rewards").mkdir()
    (tmp_path / "rewards" / "__init__.py").touch()
    (tmp_path / "rewards" / "own.py").write_text(OWN)
    (tmp_path / "residency").symlink_to(PROJECT / "residency")
    (tmp_path / "schemas").symlink_to(PROJECT / "schemas")
    return tmp_path


def run(project: Path, rewards: str, more: str = "") -> list[Diagnostic]:
    path = project / "recipe.yaml"
    path.write_text(f"kind: rlvr\nrewards:\n{rewards}\n{more}")
    checked = check_recipe(path, project=project, cwd=project)
    assert checked.recipe is not None
    entries: Any = checked.recipe.config["rewards"]
    answers = dotted_probe.probe([e["fn"] for e in entries], project, cache=project / "cache.json")
    found = Diagnostics()
    found.items += [d for d in checked.found if d.code == "bad-arguments"]
    check_functions(checked.recipe, answers, found)
    return list(found)


@pytest.mark.parametrize(
    ("rewards", "more", "expected"),
    [
        ("  - {fn: rewards.own.ranged}", "", None),
        ("  - {fn: rewards.own.dependent, args: {most: 3}}", "", None),
        ("  - {fn: rewards.own.many, args: {k: 2}, weight: -1}", "", None),
        ("  - {fn: rewards.own.bare, max: 1}", "", None),
        ("  - {fn: rewards.own.bare}", "gold_check: false", None),
        ("  - {fn: rewards.own.ranged}\n  - {fn: rewards.own.bare, weight: 0}", "", None),
        ("  - {fn: rewards.own.anything, max: 1, args: {x: 1}}", "", None),
        ("  - {fn: rewards.own.bare}", "", ("unknown-maximum", 3, "add `max:` to it")),
        (
            "  - {fn: rewards.own.bare, max: 1, weight: -1}",
            "",
            ("unknown-maximum", 3, "the lowest score counts"),
        ),
        ("  - {fn: rewards.own.ranged, max: 3}", "", ("out-of-range", 3, "scores from 0 to 2")),
        ("  - {fn: rewards.own.dependent, max: -3}", "", ("out-of-range", 3, "scores from 0 to …")),
        (
            "  - {fn: rewards.own.bare, name: gate}\n  - {fn: rewards.own.ranged, when: gate}",
            "gold_check: false",
            ("unknown-maximum", 4, "at its maximum, which is not known"),
        ),
        ("  - {fn: rewards.own.answerless, max: 1}", "", ("bad-arguments", 3, "no parameter `solution_str`")),
        ("  - {fn: rewards.own.misnamed, max: 1}", "", ("bad-arguments", 3, "rename `solution_string`")),
        ("  - {fn: rewards.own.one, max: 1}", "", ("bad-arguments", 3, "rename `solution_str`")),
        ("  - {fn: rewards.own.many}", "", ("bad-arguments", 3, "needs the argument `k`")),
        ("  - {fn: rewards.own.by_place, max: 1}", "", ("bad-arguments", 3, "by place alone")),
    ],
)
def test_rules(project: Path, rewards: str, more: str, expected: tuple[str, int, str] | None) -> None:
    found = run(project, rewards, more)
    if expected is None:
        assert found == []
        return
    code, line, words = expected
    assert {(d.code, d.span.line) for d in found} == {(code, line)}
    assert any(words in f"{d.message}; {d.hint}" for d in found)
