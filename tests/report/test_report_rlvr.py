from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import pytest
from browser import Browser
from hypothesis import given, settings
from hypothesis import strategies as st
from make_plan import plan
from make_rlvr import NAMES, make_rlvr
from make_run import ATTACK
from rich.console import Console
from test_report_html import Balanced

from residency.cli.main import main
from residency.engines.base import Progress
from residency.report import figures
from residency.report.collect import collect
from residency.report.html import page, write_report
from residency.report.live import LiveView
from residency.report.model import RunRecord, StageRecord
from residency.report.rlvr import tenths
from residency.report.summary import summary_text
from residency.report.terminal import PlainView


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rlvr(tmp_path_factory.mktemp("rlvr"))


@pytest.fixture(scope="module")
def record(run: Path) -> RunRecord:
    return collect(run)


@pytest.fixture(scope="module")
def text(record: RunRecord) -> str:
    return page(record)


def words(text: str) -> str:
    return " ".join("".join(Balanced(text).text).split())


def grpo(record: RunRecord) -> StageRecord:
    return next(stage for stage in record.stages if stage.name == "grpo")


def test_what_the_stage_left_is_read(record: RunRecord) -> None:
    assert record.problems == []
    stage = grpo(record)
    assert stage.config.keys() == {"kind", "name", "rewards", "gold_check", "verl"}, "the recipe, no more"
    left = stage.rlvr
    assert left is not None
    assert [(c.name, c.weight) for c in left.components] == list(zip(NAMES, (2.0, 0.8, 0.1), strict=True))
    assert [(p.split, p.read, p.kept, p.dropped, p.truncated) for p in left.prompts] == [
        ("train", 412, 400, 12, 0),
        ("val", 64, 64, 0, 2),
    ]
    assert [(f.name, f.dropped) for f in stage.funnels] == [
        ("questions to train on", {"longer than 1,024 tokens": 12})
    ]
    assert left.gold is not None
    assert (left.gold.maximum, left.gold.rows, left.gold.without_gold) == (2.8, 64, 3)
    assert left.gold.cases[-1].means["format"] is None


def test_rollouts_are_of_the_first_steps_the_last_and_the_best(record: RunRecord) -> None:
    found = grpo(record).rlvr.rollouts  # type: ignore[union-attr]
    assert found is not None
    assert found.kept == 4 * 100 + 4 * 6
    assert [one.step for one in found.early] == [1, 1, 1]
    assert [one.step for one in found.late] == [100, 100, 100]
    assert len(found.best) == 2
    assert all(one.step >= 91 and (one.reward or 0) > 2.7 for one in found.best)
    assert [(a.step, b.step, a.prompt == b.prompt) for a, b in found.pairs] == [(0, 100, True)] * 2


def test_rollouts_of_steps_that_were_lost_are_left_out(tmp_path: Path) -> None:
    record = collect(make_rlvr(tmp_path, outcome="killed"))
    assert (record.status, grpo(record).status) == ("interrupted", "interrupted")
    found = grpo(record).rlvr.rollouts  # type: ignore[union-attr]
    assert found is not None
    # The file ends with a rollout of step 49, to which a resumed attempt had gone back.
    assert found.late[-1].answer == "gone back"
    assert {one.step for one in found.late} == {48, 49}
    assert found.kept == 4 * 48 + 1 + 4 * 3


def test_a_run_shows_no_rollouts_of_one_that_went_on(tmp_path: Path) -> None:
    run_dir = make_rlvr(tmp_path)
    path = run_dir / "run.json"
    run = json.loads(path.read_text())
    entry = next(stage for stage in run["stages"] if stage["name"] == "grpo")
    entry["saw"] = {"status": "interrupted", "step": 30}
    path.write_text(json.dumps(run))
    state = run_dir / "stages/grpo/state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"run": "quickstart/another"}))
    stage = grpo(collect(run_dir))
    assert stage.since
    assert stage.curve[-1]["step"] == 30
    assert stage.rlvr.rollouts.late[-1].step == 30  # type: ignore[union-attr]


def test_the_page_tells_of_the_reward_and_its_components(text: str) -> None:
    said = words(text)
    for wanted in (
        "held out (n = 64)",
        "A right answer scores 2.8.",
        "The area holds the middle 80 % of the answers of a step.",
        "answer (× 2)",
        "0.094 % of the answers had no reward and left the loss: in 3 of 100 steps, 3.1 % at most.",
        "400 questions to train on, 12 longer than 1,024 tokens left out; 64 questions to validate on, "
        "2 longer than 1,024 tokens cut.",
        "Before training, 384 answers to 64 questions were scored: every right answer scored the maximum",
        "3 questions could not be tried",
        "the right answer without its tags",
        "KL from the reference model",
        "Flat groups, share",
        "Small sample: fewer than 100",
        "Some of 424 rollouts in rollouts.jsonl",
        "Held out, step 100",
    ):
        assert wanted.lower() in said.lower(), wanted
    assert text.count('class="band train"') == 1 + len(NAMES)


def test_what_a_model_wrote_in_a_rollout_is_text(text: str) -> None:
    assert ATTACK not in text
    rollouts = text.split("rollouts.jsonl", 1)[1].split('id="samples"')[0]
    assert "&lt;script&gt;document.title=" in rollouts
    assert "<details><summary>" in rollouts, "long ones are folded"


def test_a_reward_that_could_not_be_had_is_told_with_its_reason(tmp_path: Path) -> None:
    run_dir = make_rlvr(tmp_path)
    path = run_dir / "stages/grpo/outputs/rollouts.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows = [row for row in rows if row["step"] >= 60]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "no reward: answer: TimeoutError: 30 s" in words(page(collect(run_dir)))


def test_an_unchecked_reward_is_said_to_be_one(tmp_path: Path) -> None:
    said = words(page(collect(make_rlvr(tmp_path, checked=False))))
    assert "The rewards were not checked on gold answers" in said
    assert "Gold check" not in said


def test_rollouts_that_failed_are_told(tmp_path: Path) -> None:
    run_dir = make_rlvr(tmp_path, steps=20)
    path = run_dir / "stages/grpo/metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[5]["rewards/failed"] = 0.125
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "In 1 step some rollouts ended in an error and were left out, 12 % at most." in words(
        page(collect(run_dir))
    )


def test_a_stage_that_has_not_made_a_step(tmp_path: Path) -> None:
    run_dir = make_rlvr(tmp_path)
    for name in ("metrics.jsonl", "outputs/rollouts.jsonl"):
        (run_dir / "stages/grpo" / name).unlink()
    said = words(page(collect(run_dir)))
    assert "Gold check" in said
    assert "400 questions to train on" in said
    assert "Rollouts" not in said


FILES = ("stage.yaml", "metrics.jsonl", "outputs/rollouts.jsonl", "gold.json", "data/report.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "damage", ["", "{", "[1, 2]\n", "\x00\xff: [", '{"cases": [], "train": 3, "step": 1}\n']
)
def test_any_file_may_be_damaged(tmp_path: Path, name: str, damage: str) -> None:
    run_dir = make_rlvr(tmp_path, steps=20, questions=4)
    (run_dir / "stages/grpo" / name).write_bytes(damage.encode("latin-1"))
    assert "</html>" in page(collect(run_dir))


@pytest.mark.parametrize("odd", [None, 7, "text", [1], {"a": {"b": [None]}}, True, "<b>", 1e308, [{"x": []}]])
def test_values_of_any_type_are_survived(tmp_path: Path, odd: object) -> None:
    run_dir = make_rlvr(tmp_path, steps=20, questions=4)
    for name in FILES[1:]:
        path = run_dir / "stages/grpo" / name
        whole = path.read_text()
        value = json.loads(whole.splitlines()[-1] if name.endswith("jsonl") else whole)
        for key in [k for k in value if "/" not in k or k.startswith("validation/total")]:
            path.write_text(json.dumps(value | {key: odd}) + "\n")
            assert "</html>" in page(collect(run_dir)), (name, key)
        path.write_text(whole)


def test_three_evaluations_are_compared_with_the_first_and_the_one_before(record: RunRecord) -> None:
    found = [(c.task, c.before_stage, c.after_stage) for c in record.comparisons()]
    pairs = [("before", "after"), ("before", "after_rlvr"), ("after", "after_rlvr")]
    assert found == [(task, *pair) for task in ("human_or_animal", "case_report") for pair in pairs]
    assert all(c.paired for c in record.comparisons())


def test_the_terminal_shows_three_rows_and_the_reward(record: RunRecord) -> None:
    lines = summary_text(record, 80).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == ["before", "after", "after_rlvr"]
    assert all(re.search(r"\[\d\.\d{3} to \d\.\d{3}\]  n = 100", line) for line in lines[1:4])
    heads = [line for line in lines if re.match(r"  \w+ to \w+:", line)]
    assert len(heads) == 6
    assert "grpo: reward 1.18 to 1.82 over 100 steps (means of the first and the last tenth;" in lines
    assert "  a right answer scores 2.8)" in lines
    assert max(map(len, lines)) <= 80


def test_the_page_shows_three_rows_columns_and_figures(text: str) -> None:
    assert text.count('class="point before"') == text.count('class="point between"') == 2
    assert text.count('class="point after"') == 2
    top = text.split("<main")[0]
    assert top.count('class="to"') == 4
    assert "from before to after_rlvr" in top
    sample = text.split('class="sample"')[1].split("</article>")[0]
    assert re.findall(r'class="stage-name">(\w+)<', sample) == ["before", "after", "after_rlvr"]


def test_small_samples_keep_their_label_in_three_rows(tmp_path: Path) -> None:
    record = collect(make_rlvr(tmp_path, questions=20))
    assert summary_text(record, 120).count("small sample") == 6
    assert page(record).count('class="label">small sample') >= 6


def test_show_and_diff_list_the_reward_by_component(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = make_rlvr(tmp_path, steps=40)
    last = make_rlvr(tmp_path / "other", steps=60)
    state = "stages/grpo/state.json"
    reward = [json.loads((run / state).read_text())["metrics"]["reward"] for run in (first, last)]
    other = tmp_path / "quickstart" / "20260302-120412-7f3a"
    shutil.copytree(last, other, symlinks=False)
    run = json.loads((other / "run.json").read_text()) | {"id": other.name}
    (other / "run.json").write_text(json.dumps(run))
    monkeypatch.setenv("RESIDENCY_RUNS", str(tmp_path))
    assert main(["show", first.name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"  reward +1\.\d+", line) for line in lines)
    assert any(re.match(r"  components +answer: 0\.\d+, format: 0\.\d+, length", line) for line in lines)
    assert main(["diff", first.name, other.name]) == 0
    said = capsys.readouterr().out
    change = reward[1] - reward[0]
    assert re.search(rf"grpo\.reward +1\.\d+ +1\.\d+ +{re.escape(f'{change:+.4g}')}", said)
    assert "grpo.components.format" in said
    assert re.search(r"grpo\.validation\.n +64 +64 +=", said)


@given(st.lists(st.floats(-5, 5), max_size=60))
@settings(max_examples=60, deadline=None)
def test_tenths_lie_within_the_values(values: list[float]) -> None:
    for found in tenths(values):
        assert (found is None) == (not values)
        assert found is None or min(values) - 1e-9 <= found <= max(values) + 1e-9


METRICS = {
    "reward": -0.41234,
    "zero_variance_groups": 0.25,
    "unavailable": 0.0,
    "response_length": 1024.4,
    "kl": 1.234e-4,
    "entropy": 0.5,
    "clip_fraction": 0.01,
    "tokens_per_second": 12431.0,
}


def test_figures_are_told_in_words() -> None:
    assert figures.said(METRICS) == [
        "reward -0.412",
        "flat groups 25%",
        "length 1,024",
        "KL 1.2e-4",
        "12,431 tokens/s",
    ]
    lost = figures.said(METRICS | {"unavailable": 0.031, "zero_variance_groups": 0.004})
    assert lost[1:3] == ["no reward for 3%", "flat groups 0.4%"]


@given(st.lists(st.text("abc", min_size=1, max_size=30)), st.integers(10, 80))
def test_packed_lines_hold_everything_in_its_order(parts: list[str], width: int) -> None:
    lines = figures.packed(parts, width)
    assert [part for line in lines for part in line.split(" · ")] == parts
    assert all(len(line) <= width or " · " not in line for line in lines)


def test_plain_progress_of_an_rlvr_stage_fits_80_columns() -> None:
    stream, now = io.StringIO(), [0.0]
    view = PlainView(stream, lambda: now[0])
    view.stage("grpo", "running")
    for step in range(4):
        now[0] = 60.0 * step
        view.progress("grpo", Progress(step, 20, metrics=METRICS), now[0])
    lines = stream.getvalue().splitlines()
    assert [line[9:] for line in lines[1:3]] == [
        "[grpo] 1/20 steps (5%) · reward -0.412 · 60 s/step · 19:00 left",
        "[grpo] flat groups 25% · length 1,024 · KL 1.2e-4 · 12,431 tokens/s",
    ]
    assert len(lines) == 1 + 3 * 2
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("width", [80, 40])
def test_the_live_view_of_an_rlvr_stage_fits(width: int) -> None:
    now = [1000.0]
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=24)
    view = LiveView(clock=lambda: now[0], console=console)
    view.begin(plan(), Path("runs/quickstart/1"))
    view.stage("sft", "running")
    for step in range(4):
        now[0] += 44.0
        view.progress("sft", Progress(step, 20, metrics=METRICS), now[0] - 1000)
    lines = [line.plain for line in view.lines(width, 24)]
    assert max(map(len, lines)) <= width
    figures_line = next(line for line in lines if "reward" in line)
    assert figures_line.strip().startswith("reward -0.412 · flat groups 25%")
    if width == 80:
        assert figures_line.endswith("KL 1.2e-4 · 12,431 tokens/s")
    busy = Progress(20, 20, message="writing the model", metrics=METRICS)
    view.progress("sft", busy, now[0] - 1000)
    assert "   writing the model" in [line.plain for line in view.lines(width, 24)]
    view.end("done", 1.0)


@pytest.mark.slow
class TestInABrowser:
    @pytest.mark.parametrize("width", [375, 1280])
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_it_fits(self, browser: Browser, run: Path, tmp_path: Path, width: int, scheme: str) -> None:
        file = write_report(run, tmp_path / "page.html")
        browser.open(file, width, scheme=scheme)
        assert browser.complaints() == []
        assert browser.requests() == [file.as_uri()]
        browser.run("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert browser.run("[innerWidth, document.documentElement.scrollWidth]") == [width, width]
        outside = browser.run(
            "[...document.querySelectorAll('#training *')].filter(e => !e.closest('.table, thead') &&"
            f" e.getBoundingClientRect().right > {width + 1}).map(e => e.outerHTML.slice(0, 80))"
        )
        assert outside == []

    def test_the_reward_s_chart_tells_its_band(self, browser: Browser, run: Path, tmp_path: Path) -> None:
        browser.open(write_report(run, tmp_path / "page.html"), 1280)
        plot = "[...document.querySelectorAll('.plot')].find(p => p.querySelector('.band'))"
        browser.run(f"{plot}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'End'}}))")
        step, train, held_out = browser.run(f"{plot}.querySelector('.tip').textContent").split("\n")
        assert step == "step 100"
        assert re.fullmatch(r"train [\d.]+ \([\d.]+ to [\d.]+\)", train)
        assert held_out.startswith("held out (n = 64) ")
