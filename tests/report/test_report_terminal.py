from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from make_plan import estimate, plan
from make_run import make_run
from rich.console import Console

from residency.engines.base import Progress
from residency.report import wording
from residency.report.collect import collect
from residency.report.live import LiveView
from residency.report.plan_text import plan_text
from residency.report.summary import finish, summary_text
from residency.report.terminal import Pace, PlainView, make_view

PROJECT = Path(__file__).resolve().parents[2]
RUN = Path("runs/quickstart/1")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain_lines(stream: io.StringIO) -> list[str]:
    lines = stream.getvalue().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)
    return [line[9:] for line in lines]


def test_plain_lines_say_each_change_once() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainView(stream, clock)
    view.begin(plan(), RUN)
    view.stage("after", "waiting")
    view.stage("data", "running")
    clock.now += 12.4
    view.stage("data", "done", "2,500 rows\x1b[31m kept")
    view.line("data", "one of a thousand lines")
    view.message("2 GPUs are idle", "warning")
    view.end("done", 12.4)
    assert plain_lines(stream) == [
        f"run quickstart in {RUN}",
        "5 stages: model, data, before, sft, after",
        "[data] running",
        "[data] done after 12 s: 2,500 rows kept",
        "warning: 2 GPUs are idle",
        "run done in 12 s",
    ]


def test_plain_progress_is_at_most_every_ten_seconds_and_five_percent() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainView(stream, clock)
    view.stage("sft", "running")
    for second in range(401):
        clock.now = 1000 + second
        view.progress("sft", Progress(second, 400, metrics={"loss": 1.5}), float(second))
    lines = [line for line in plain_lines(stream) if "steps" in line]
    assert len(lines) == 20
    assert lines[0] == "[sft] 20/400 steps (5%) · loss 1.5 · 1 steps/s · 6:20 left"
    assert lines[-1] == "[sft] 400/400 steps (100%) · loss 1.5 · 1 steps/s"
    stream.truncate(0)
    stream.seek(0)
    for second in range(60):
        clock.now += 1
        view.progress("data", Progress(message=f"row {second}"), float(second))
    assert plain_lines(stream) == [f"[data] row {second}" for second in (10, 20, 30, 40, 50)]


def test_plain_progress_of_a_long_training_is_at_least_every_minute() -> None:
    stream, clock = io.StringIO(), Clock()
    view = PlainView(stream, clock)
    view.stage("sft", "running")
    for second in range(0, 3601, 1):
        clock.now = 1000 + second
        # A step takes 20 s, of 10,000; from the 50th minute on it makes none.
        view.progress("sft", Progress(min(second, 3000) // 20, 10_000), float(second))
    lines = [line for line in plain_lines(stream) if "steps" in line]
    assert len(lines) == 50
    assert lines[0].startswith("[sft] 3/10,000 steps (0.0%) · 20 s/step")
    assert lines[-1].startswith("[sft] 150/10,000 steps (2%)")


def test_a_pipe_that_closes_does_not_end_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    view = PlainView(Gone())
    view.stage("sft", "running")
    view.end("done", 1.0)


def test_a_stream_that_knows_no_unicode() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    PlainView(stream).message("α ok")
    assert raw.getvalue().endswith(b"? ok\n")


def test_the_view_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(make_view(Terminal()), LiveView)
    assert isinstance(make_view(io.StringIO()), PlainView)
    assert isinstance(make_view(Terminal(), plain=True), PlainView)
    monkeypatch.setenv("NO_COLOR", "1")
    assert isinstance(make_view(Terminal()), PlainView)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_view(Terminal()), PlainView)


def test_pace_of_a_resumed_stage_counts_its_own_steps() -> None:
    pace = Pace()
    for second in range(5):
        pace.add(second * 2.0, 40 + second)
    assert pace.rate == pytest.approx(0.5)
    assert pace.left(8.0, 100) == pytest.approx((100 - 44) / 0.5)
    assert pace.left(9.0, 100) == pytest.approx((100 - 44) / 0.5 - 1), "time goes on between steps"
    pace.add(10.0, 1)
    assert pace.rate is None, "another count has begun"


def live(width: int, height: int = 24) -> tuple[LiveView, Clock, io.StringIO]:
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=True, width=width, height=height, color_system="standard")
    return LiveView(clock=clock, console=console), clock, stream


def shown(view: LiveView, width: int, height: int = 24) -> list[str]:
    return [line.plain for line in view.lines(width, height)]


def test_the_live_view_shows_stages_and_progress() -> None:
    view, clock, stream = live(80)
    view.begin(plan(), RUN)
    view.stage("model", "reused", "finished before")
    view.stage("sft", "running")
    for step in range(40, 46):
        view.progress(
            "sft",
            Progress(step, 100, metrics={"seconds": 3.0, "learning_rate": 9e-5, "loss": 0.41234}),
            clock.now - 1000,
        )
        clock.now += 4.4
    lines = shown(view, 80)
    assert lines[1].split() == ["↺", "model", "reused", "finished", "before"]
    assert lines[4].split() == ["▸", "sft", "running", "26", "s"]
    assert re.fullmatch(r" +━+╸?─+ +45/100 steps · 4\.4 s/step · 3:58 left", lines[5])
    assert lines[6] == "   loss 0.4123 · learning_rate 9e-5"
    view.stage("sft", "failed", "out of memory")
    assert shown(view, 80)[4].split()[:5] == ["✗", "sft", "failed", "26", "s"]
    view.end("failed", 30.0)
    text = stream.getvalue()
    assert text.count("\x1b[?25l") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor comes back"
    assert "quickstart failed in 30 s" in text


@pytest.mark.parametrize("width", [80, 40, 20])
@pytest.mark.parametrize("height", [24, 5])
def test_the_live_view_never_leaves_the_terminal(width: int, height: int) -> None:
    view, clock, _ = live(width, height)
    view.begin(plan(), RUN)
    view.stage("model", "failed", "a long reason " * 8)
    view.stage("sft", "running", "from checkpoint-40")
    view.progress("sft", Progress(40, 1000, metrics={"loss": 1.0, "eval_loss": 2.0}), 0.0)
    clock.now += 3
    view.progress("sft", Progress(41, 1000, metrics={"loss": 1.0, "eval_loss": 2.0}), 3.0)
    lines = shown(view, width, height)
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    view.end("interrupted", 3.0)


def test_the_views_show_services() -> None:
    stream = io.StringIO()
    plain = PlainView(stream, Clock())
    plain.service("retriever", "starting")
    plain.service("retriever", "ready", "at http://127.0.0.1:8000")
    assert plain_lines(stream) == [
        "[service retriever] starting",
        "[service retriever] ready: at http://127.0.0.1:8000",
    ]
    view, _, _ = live(80)
    view.begin(plan(), RUN)
    view.service("retriever", "ready", "at http://127.0.0.1:8000")
    assert shown(view, 80)[1] == " ⇄ retriever  service ready  at http://127.0.0.1:8000"
    for number in range(40):
        view.service(f"service-{number}", "failed", "its log: " + "/long" * 40)
    assert len(shown(view, 40, 9)) <= 9
    assert max(map(len, shown(view, 40, 9))) <= 40
    view.service("retriever", "stopped")
    view.end("done", 1.0)
    assert not any("retriever" in line for line in shown(view, 80, 200))


def test_a_narrow_terminal_still_tells_why_a_stage_failed() -> None:
    view, _, _ = live(40)
    view.begin(plan(), RUN)
    view.stage("sft", "failed", "the GPU ran out of memory at step 3")
    assert "out of memory" in " ".join(" ".join(shown(view, 40)).split())
    view.end("failed", 1.0)


def test_many_stages_on_a_low_terminal_are_counted() -> None:
    many = plan()
    many.stages = [replace(many.stages[0], name=f"s{place}") for place in range(40)]
    view, _, _ = live(80, 10)
    view.begin(many, RUN)
    for place in range(20):
        view.stage(f"s{place}", "done")
    view.stage("s20", "running")
    lines = shown(view, 80, 9)
    assert lines[1].strip() == "✓ 20 over"
    assert "s20" in lines[2]
    assert lines[-1].strip() == "· 14 more wait"
    view.end("done", 1.0)


def test_log_lines_cannot_move_the_cursor() -> None:
    view, _, _ = live(80)
    view.begin(plan(), RUN)
    view.stage("data", "running")
    view.line("data", "\x1b[2J\x1b]0;owned\x07reading [bold]x[/bold]\r")
    assert shown(view, 80)[3] == "   reading [bold]x[/bold]"
    view.end("done", 1.0)


def test_the_views_load_nothing_heavy() -> None:
    code = (
        "import sys; import residency.report.terminal, residency.report.plan_text, residency.report.summary, "
        "residency.report.html, residency.cli.report; "
        "print([m for m in ('rich', 'torch', 'jinja2', 'yaml', 'requests') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_plan_tells_what_runs_and_why() -> None:
    text = plan_text(plan(), width=100)
    lines = text.splitlines()
    assert lines[0] == (
        "quickstart (recipes/quickstart.yaml): 5 stages, 2 to run, 1 to go on with, 1 reused, 1 left out"
    )
    assert "  1  model   export    reuse      finished before with the same inputs" in lines
    assert "  4  sft     sft       go on      was interrupted" in lines
    assert "  command  llamafactory-cli train train.yaml" in lines
    assert "  secret   WANDB_API_KEY from $MY_WANDB" in lines
    assert "warning: 2 GPUs are idle" in lines
    assert "model: export by" not in text, "a stage that is reused needs no details"


def test_the_plan_tells_the_engine_s_notes() -> None:
    made = plan()
    stage = made.stages[3]
    made.stages[3] = replace(stage, launch=replace(stage.launch, notes=("verl runs on the CPU: FSDP2",)))
    assert "  note     verl runs on the CPU: FSDP2" in plan_text(made, width=100).splitlines()


def test_the_plan_compares_memory_with_what_is_there() -> None:
    gib = 1 << 30
    tight = plan_text(plan(1, estimate(90)), width=100, gpu_memory=80 * gib)
    assert "WARNING: does not fit, each GPU here has 80.0 GiB" in tight
    assert "try llamafactory.cutoff_len: 1024" in tight
    assert "8.03 billion parameters, 21.0 million of them trained" in tight
    roomy = plan_text(plan(1, estimate(40)), width=100, gpu_memory=80 * gib)
    assert "fits: each GPU here has 80.0 GiB" in roomy
    assert "try llamafactory" not in roomy
    assert "WARNING" not in plan_text(plan(0, estimate(90)), width=100, gpu_memory=80 * gib)


@pytest.mark.parametrize("width", [80, 40])
def test_plan_and_summary_keep_to_the_width(done: Path, width: int) -> None:
    for text in (plan_text(plan(1, estimate(90)), width, 1), summary_text(collect(done), width)):
        # A long path or key is left whole, on a line of its own, to be copied.
        assert [line for line in text.splitlines() if len(line) > width and len(line.split()) > 1] == []


def test_the_summary_sets_before_and_after_side_by_side(done: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    lines = summary_text(collect(done), 120, page).splitlines()
    assert lines[:3] == [
        "human_or_animal, accuracy",
        "  before  0.060  [0.028 to 0.125]  n = 100  87 unreadable",
        "  after   1.000  [0.963 to 1.000]  n = 100   0 unreadable",
    ]
    assert lines[3].startswith("  before to after: +0.940 [+0.868 to +0.972], p < 0.001, a clear difference")
    assert lines[-1] == f"report: {page}"


def test_the_summary_labels_small_samples(tmp_path: Path) -> None:
    text = summary_text(collect(make_run(tmp_path, questions=20, profiles=("smoke",))), 120)
    assert "small sample, limited" in text
    assert "This is a smoke run" in text


def test_finish_writes_the_page_and_survives_what_it_cannot_write(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path, outcome="failed", questions=10)
    assert f"report: {run_dir / 'report.html'}" in finish(run_dir, 100)
    assert (run_dir / "report.html").stat().st_size > 20_000
    (run_dir / "report.html").unlink()
    (run_dir / "report.html").mkdir()
    assert "the report could not be written" in finish(run_dir, 100)
    assert "could not be" in finish(tmp_path / "nowhere", 100)


def test_the_verb_writes_the_page(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    from residency.cli import report

    parser = argparse.ArgumentParser()
    report.add_parser(parser.add_subparsers())
    out = tmp_path / "page.html"
    assert report.run(parser.parse_args(["report", str(done), "-o", str(out)])) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.is_file()


def test_the_verb_finds_a_run_by_name(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from residency.cli.main import main

    monkeypatch.setenv("RESIDENCY_RUNS", str(done.parent.parent))
    out = tmp_path / "page.html"
    assert main(["report", "quickstart", "-o", str(out)]) == 0
    assert "quickstart · done" in out.read_text(encoding="utf-8")
    assert main(["report", "quickstrat"]) == 2
    assert "did you mean quickstart" in capsys.readouterr().err


DURATIONS = {0.04: "0.0 s", 9.96: "10 s", 59.6: "1:00", 185: "3:05", 3729: "1:02:09", 270000: "3 d 3 h"}
NUMBERS = {0.0: "0", 12431: "12,431", 9e-5: "9e-5", 1.5e-4: "1.5e-4", 0.41234: "0.4123", 12345.6: "12,346"}


@pytest.mark.parametrize(("seconds", "text"), DURATIONS.items())
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(("value", "text"), NUMBERS.items())
def test_numbers(value: float, text: str) -> None:
    assert wording.number(value) == text
