"""The page of a run with leaks, services, two readings, and rollouts by step."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from browser import Browser
from make_full import QUESTION, REASON, make_full
from make_rlvr import make_rlvr

from residency.report.collect import collect
from residency.report.html import page, write_report
from residency.report.model import RunRecord
from residency.report.rlvr import BROWSED_EACH, BROWSED_STEPS


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_full(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def record(full: Path) -> RunRecord:
    return collect(full)


@pytest.fixture(scope="module")
def said(record: RunRecord) -> str:
    text = re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", page(record), flags=re.S)
    return " ".join(html.unescape(text).split())


def test_a_leak_that_is_allowed_is_printed_with_its_reason(said: str) -> None:
    assert f"Reason given: {REASON}" in said
    assert "Leaks that the recipe allows" in said
    assert "test.jsonl row 1 (q1) is in train.jsonl row 2" in said
    assert QUESTION[:60] in said
    assert "the task hellaswag, which brings its own questions" in said


def test_a_leak_that_stopped_the_run(tmp_path: Path) -> None:
    text = page(collect(make_full(tmp_path, allowed=False)))
    assert "Leaks stopped the run" in text
    assert "Leaks that the recipe allows" not in text


def test_nothing_is_said_of_leaks_where_nothing_was_compared(tmp_path: Path) -> None:
    assert 'id="leaks"' not in page(collect(make_rlvr(tmp_path)))


def test_services_memory_and_gpus(said: str) -> None:
    assert "retriever retriever stopped 1 grpo" in said
    assert "judge ran already ready 0 after_rlvr" in said
    assert "7.0 GiB" in said
    assert re.search(r"GPU hours", said)


def test_strict_and_lenient_stand_side_by_side(said: str, record: RunRecord) -> None:
    assert "accuracy_lenient after" in said
    assert "read leniently as" in said
    assert "87 (87%)" in said
    assert "How the tasks were asked" in said
    paired = [c for c in record.comparisons() if c.metric == "accuracy_lenient"]
    assert paired
    assert all(c.paired and c.n == 100 for c in paired)


def test_the_tests_are_corrected_for_their_number(said: str, record: RunRecord) -> None:
    tests = sum(c.p is not None for c in record.comparisons())
    assert f"Holm's method for all {tests} tests" in said


def test_rollouts_are_browsed_by_step(record: RunRecord, said: str) -> None:
    stage = next(s for s in record.stages if s.kind == "rlvr")
    assert stage.rlvr
    assert stage.rlvr.rollouts
    steps = stage.rlvr.rollouts.steps
    train = [step.step for step in steps if step.split == "train"]
    assert len(train) <= BROWSED_STEPS
    assert train == sorted(set(train))
    assert any(step.split == "validation" for step in steps)
    for step in steps:
        assert 0 < len(step.rollouts) <= min(BROWSED_EACH, step.kept)
        assert {one.step for one in step.rollouts} == {step.step}
    assert f"Training, step {train[-1]}:" in said
    assert "Validation, step" in said


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_the_whole_page_fits_with_everything_unfolded(
    browser: Browser, full: Path, tmp_path: Path, width: int
) -> None:
    file = write_report(full, tmp_path / "page.html")
    browser.open(file, width)
    picture = browser.screenshot(tmp_path / f"{width}.png", scale=0.3)
    assert picture.stat().st_size > 30_000
    browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert browser.complaints() == []
    assert browser.requests() == [file.as_uri()]
    assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
    outside = browser.run(
        "[...document.querySelectorAll('body *')].filter(e => !e.closest('nav, .table, pre, thead, .skip') &&"
        f" e.getBoundingClientRect().right > {width + 1}).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    for section in ("evaluation", "training", "samples", "leaks", "resources", "stages", "origin", "repeat"):
        assert browser.run(f"document.getElementById('{section}').getBoundingClientRect().height") > 40
