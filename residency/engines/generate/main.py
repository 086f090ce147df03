"""The command of a `generate` stage: `python -m residency.engines.generate.main stage.yaml`.

It asks for every answer that is not kept yet in `answers.jsonl`, keeps each as it comes, and
writes the outputs at the end. Killed and started again it asks nothing twice.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from residency import files
from residency.endpoint.kept import Kept
from residency.endpoint.settings import HOW_FAST
from residency.engines.generate.ask import Answerer, Clock, Wanted, seconds, wanted
from residency.engines.generate.finish import REPORT, Finisher
from residency.engines.generate.prompt import NoPrompt, messages
from residency.engines.generate.spec import Spec, rows, spec
from residency.errors import EXIT_FAILED, ResidencyError
from residency.processing import Report

KEPT, PROGRESS, ERROR = "answers.jsonl", "progress.json", "error.json"
AFTERWARDS = ("json", "filters", "keep", "output", "format", "take", "batch")
"""Keys that say what becomes of answers, not what is asked."""
SAY_EVERY, WRITE_EVERY = 10.0, 0.5
"""Seconds between two lines of progress in the log, two writes of progress.json."""


class Watch:
    """Tells how far the stage is."""

    def __init__(self, folder: Path, done: int, total: int) -> None:
        self.folder, self.done, self.total = folder, done, total
        self.tokens = 0
        self._began = time.monotonic()
        self._said = self._written = 0.0
        self._lock = threading.Lock()

    def count(self, tokens: int) -> None:
        """One more answer."""
        with self._lock:
            self.done += 1
            self.tokens += tokens
            now = time.monotonic()
            rate = self.tokens / max(now - self._began, 1e-6)
            if self.done == self.total or now - self._written >= WRITE_EVERY:
                self._written = now
                found = {"done": self.done, "total": self.total, "metrics": {"tokens_per_second": rate}}
                beside = self.folder / f"{PROGRESS}.part"
                beside.write_text(json.dumps(found), encoding="utf-8")
                os.replace(beside, self.folder / PROGRESS)
            if self.done == self.total or now - self._said >= SAY_EVERY:
                self._said = now
                print(f"{self.done} of {self.total} answers, {rate:.0f} tokens/s", flush=True)


def purpose(stage: Mapping[str, Any]) -> str:
    """What answers are kept for: what is asked of which model, not where or how fast, nor what follows."""
    over = stage.get("endpoint") or {}
    block = {k: v for k, v in over.items() if k not in (*HOW_FAST, "url")}
    asked = {k: v for k, v in stage.items() if k not in AFTERWARDS}
    return files.sha256_value({**asked, "endpoint": block})


def open_answerer(found: Spec) -> Answerer:
    """The server or the model. Raises ResidencyError when it is not there."""
    if found.endpoint is not None:
        from residency.endpoint.reach import reach
        from residency.engines.generate.ask import Server

        client, model, listed = reach(found.endpoint)
        return Server(found, client, model, listed)
    from residency.engines.generate.local import Local

    return Local(found)


def generate(stage: Mapping[str, Any], folder: Path) -> None:
    """Do what stage.yaml says, in the stage's folder."""
    found = spec(stage)
    kept = Kept(folder / KEPT, purpose(stage))
    if kept.rows:
        print(f"going on: {len(kept.rows)} answers were kept", flush=True)
    finisher = Finisher(found, kept, folder / "outputs")  # a filter that is not there is said at once
    total = 0
    for _, row in rows(found, Report()):
        try:
            messages(row, found.prompt)
        except NoPrompt:
            continue
        total += found.sampling.n
    about: Mapping[str, Any] = {}
    if any(True for _ in wanted(found, kept)):
        print("looking for the server" if found.endpoint else "loading the model", flush=True)
        answerer = open_answerer(found)
        about = answerer.about
        clock, watch = Clock(kept), Watch(folder, len(kept.rows), total)

        def keep(item: Wanted, answer: dict[str, Any]) -> None:
            kept.add(item.key, {**answer, **clock.stamp()})
            watch.count(int(answer.get("tokens") or 0))

        answerer.answer(wanted(found, kept), keep)
        files.write_json(folder / "engine.json", about)
    took = seconds(kept)
    report = finisher.write()
    kept.close()
    report |= {
        "seconds": took,
        "tokens_per_second": round(report["tokens"] / took, 2) if took else None,
        "engine": about or files.read_json(folder / "engine.json") or {},
    }
    for reason, n in list(report["rejected"].items())[:8]:
        print(f"left out: {n} {reason}", flush=True)
    print(
        f"{report['rows']} rows, {report['samples']} answers, {report['kept']} kept, "
        f"{report['dataset_rows']} rows in the dataset",
        flush=True,
    )
    files.write_json(folder / "outputs" / REPORT, report)


def main(argv: list[str]) -> int:
    """Run the stage described by the file that is the one argument."""
    path = Path(argv[0] if argv else "stage.yaml").absolute()
    folder = path.parent
    (folder / ERROR).unlink(missing_ok=True)
    try:
        generate(yaml.safe_load(path.read_text(encoding="utf-8")), folder)
    except ResidencyError as error:
        message, hint, code = error.message, error.hint, error.exit_code
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())
        message, hint, code = f"{type(error).__name__}: {text}", None, EXIT_FAILED
    else:
        return 0
    print(f"error: {message}", flush=True)
    if hint:
        print(f"  {hint}", flush=True)
    files.write_json(folder / ERROR, {"message": message, "hint": hint})
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
