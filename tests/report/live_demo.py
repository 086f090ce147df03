"""Shows the live view by hand: `python tests/report/live_demo.py [seconds]`; Ctrl-C ends it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from make_plan import plan

from residency.engines.base import Progress
from residency.report.terminal import make_view


def main(seconds: float) -> int:
    view = make_view()
    began = time.monotonic()
    view.begin(plan(), Path("runs/quickstart/20260301-120412-7f3a"))
    try:
        view.stage("model", "reused", "finished before with the same inputs")
        view.stage("data", "running")
        for count in range(5):
            view.line("data", f"\x1b[32mreading\x1b[0m pubmed20n0014.xml.gz, record {count * 600:,}")
            view.progress("data", Progress(message=f"reading records, {count * 600:,} kept"), count / 5)
            time.sleep(seconds / 20)
        view.stage("data", "done", "2,500 of 30,000 rows kept")
        view.message("study_questions: 14 records have no date", "warning")
        view.stage("sft", "running", "from checkpoint-40")
        start = time.monotonic()
        for step in range(40, 101):
            metrics = {"loss": 2.6 / step * 20, "eval_loss": 0.38, "learning_rate": 2e-4 / step}
            view.progress("sft", Progress(step, 100, metrics=metrics), time.monotonic() - start)
            time.sleep(seconds * 0.75 / 60)
        view.stage("sft", "done")
    except KeyboardInterrupt:
        view.end("interrupted", time.monotonic() - began)
        return 5
    view.end("done", time.monotonic() - began)
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 12))
