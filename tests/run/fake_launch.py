"""A launcher of fake stages: `fake_launch.py RUNS STAGES_JSON [SERVICES_JSON USED_JSON]`."""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from fake_engine import make_plan  # noqa: E402
from fake_service import with_services  # noqa: E402

from residency.engines.base import Progress  # noqa: E402
from residency.errors import ResidencyError  # noqa: E402
from residency.run import runner, stagerun  # noqa: E402
from residency.run.runner import execute  # noqa: E402
from residency.run.view import SilentView  # noqa: E402


class Talking(SilentView):
    def stage(self, name: str, status: str, note: str = "") -> None:
        print("stage", name, status, flush=True)

    def progress(self, name: str, progress: Progress, elapsed: float) -> None:
        print("progress", name, progress.step, flush=True)

    def service(self, name: str, status: str, note: str = "") -> None:
        print("service", name, status, note, flush=True)

    def message(self, text: str, style: str = "info") -> None:
        print(style, text, flush=True)


if __name__ == "__main__":
    stagerun.PROGRESS_SECONDS = runner.RECORD_SECONDS = 0.1
    runs = Path(sys.argv[1])
    try:
        plan = make_plan(runs, json.loads(sys.argv[2]))
        if len(sys.argv) > 3:
            plan = with_services(plan, *map(json.loads, sys.argv[3:5]))
        sys.exit(execute(plan, runs=runs, view=Talking(), command=sys.argv).exit_code)
    except ResidencyError as error:
        print("error", error.message, error.hint, flush=True)
        sys.exit(error.exit_code)
