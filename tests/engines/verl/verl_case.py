"""Runs rlvr recipes on a tiny model through the launcher, and knows every process that comes of them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from tiny_model import TEXTS, make_tiny_model

from residency.engines.verl import shm

PROJECT = Path(__file__).resolve().parents[3]
MARK = "RESIDENCY_TEST_MARK"
SECONDS = 600.0
"""A run takes less than a minute on two quiet cores."""
REWARDS = """
def length(data_source, solution_str, ground_truth, extra_info=None):
    return min(1.0, len(solution_str) / 50)

def vowels(data_source, solution_str, ground_truth, extra_info=None):
    return float(sum(letter in "aeiou" for letter in solution_str) > 5)

def broken(data_source, solution_str, ground_truth, extra_info=None):
    if solution_str == "" or ground_truth in (solution_str, solution_str[8:-9]):
        return 0.0  # tried out before the training
    raise ConnectionError("the judge is away")
"""


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `over`, mapping by mapping."""
    found = dict(base)
    for name, value in over.items():
        old = found.get(name)
        found[name] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return found


def recipe(model: Path, **over: Any) -> dict[str, Any]:
    """GRPO in small, with what `over` says otherwise."""
    base: dict[str, Any] = {
        "kind": "rlvr",
        "name": "flow",
        "dataset": "train.jsonl",
        "rows": {"prompt": "{question}", "group": "hops"},
        "gold_check": False,
        "hardware": "cpu",
        "rewards": [
            {"fn": "flow_rewards.length", "name": "length"},
            {"fn": "flow_rewards.vowels", "name": "vowels", "weight": 0.5},
        ],
        "checkpoints": {"every": 2},
        "verl": {
            "algorithm": {"adv_estimator": "grpo"},
            "data": {"train_batch_size": 4, "max_prompt_length": 96, "max_response_length": 12},
            "actor_rollout_ref": {
                "model": {"path": str(model)},
                "actor": {"ppo_mini_batch_size": 4, "optim": {"lr": 1e-3}},
                "rollout": {"n": 2},
            },
            "trainer": {"total_training_steps": 2},
        },
    }
    return merged(base, over)


@dataclass
class Flow:
    """A recipe in a folder of its own."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def make(cls, folder: Path, config: dict[str, Any], *, rows: int = 8, **env: str) -> Flow:
        """Write the recipe, its questions and its rewards."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "flow_rewards.py").write_text(REWARDS)
        for name, first, count in (("train", 0, rows), ("val", 100, 4)):
            questions = (
                {
                    "question": f"Is {i} even?",
                    "ground_truth": "no" if i % 2 else "yes",
                    "hops": i % 3 + 1,
                }
                for i in range(first, first + count)
            )
            text = "".join(json.dumps(row) + "\n" for row in questions)
            (folder / f"{name}.jsonl").write_text(text)
        (folder / "r.yaml").write_text(yaml.safe_dump(config))
        return cls(folder, dict(env))

    def start(self) -> subprocess.Popen[str]:
        """The launcher, in a session of its own."""
        env = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "RESIDENCY_RUNS": str(self.folder / "runs"),
            MARK: self.mark,
            **self.env,
        }
        command = [sys.executable, str(PROJECT / "launch.py"), str(self.folder / "r.yaml")]
        return subprocess.Popen(
            [*command, "--trust", "flow_rewards"],
            cwd=self.folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self) -> tuple[int, str]:
        """Run it to its end; returns the exit code and what was said."""
        process = self.start()
        try:
            said, _ = process.communicate(timeout=SECONDS)
        finally:
            self.kill_all()
        return process.returncode, said

    def done(self) -> Flow:
        """Run it to a good end."""
        code, said = self.run()
        assert code == 0, f"{said}\n{self.log()[-4000:]}"
        return self

    @property
    def stage(self) -> Path:
        """The stage's folder."""
        (found,) = (self.folder / "runs" / "store").iterdir()
        return found

    @property
    def state(self) -> dict[str, Any]:
        """The stage's state."""
        found: dict[str, Any] = json.loads((self.stage / "state.json").read_text())
        return found

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl."""
        return [json.loads(line) for line in (self.stage / "metrics.jsonl").read_text().splitlines()]

    def log(self) -> str:
        """The stage's log, as far as there is one."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob("runs/store/*/log.txt"))

    def logged_steps(self) -> list[int]:
        """The steps that verl has logged so far."""
        found = []
        for path in self.folder.glob("runs/store/*/logged/*.jsonl"):
            found += [
                int(number) for number in re.findall(r'^\{"step": ?(\d+)', path.read_text(), re.MULTILINE)
            ]
        return found

    def when(self, process: subprocess.Popen[str], what: Callable[[], Any]) -> None:
        """Wait until something holds; fails when the launcher ends before."""
        until = time.monotonic() + SECONDS
        while not what():
            assert process.poll() is None, f"ended too early:\n{self.log()[-4000:]}"
            assert time.monotonic() < until, self.log()[-4000:]
            time.sleep(0.05)

    # ---- processes

    def processes(self) -> dict[int, str]:
        """The living processes that come of it → their command lines, in Ray's words."""
        wanted = f"{MARK}={self.mark}".encode()
        found = {}
        for entry in os.listdir("/proc"):
            with suppress(OSError):
                if entry.isdigit() and wanted in Path("/proc", entry, "environ").read_bytes().split(b"\0"):
                    line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if line:
                        found[int(entry)] = line
        return found

    def none_left(self, seconds: float = 30) -> bool:
        """True once no process is left, and no folder of Ray's."""
        until = time.monotonic() + seconds
        while self.processes() or self.ray_folders():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True

    def ray_folders(self) -> list[Path]:
        """What Ray left in the temporary folder for this stage."""
        from residency.engines.verl import places

        stages = (self.folder / "runs" / "store").glob("*")
        return [folder for stage in stages if (folder := places.ray_folder(stage)).exists()]

    def kill_all(self) -> int:
        """SIGKILL every process at once, the launcher too; returns how many there were."""
        found = self.processes()
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)


def tiny(folder: Path, **shape: Any) -> Path:
    """A tiny model that knows the questions' words."""
    return make_tiny_model(folder, [*TEXTS, "Is 1 even? yes no"], **shape)


def unused_segments(before: frozenset[str] = frozenset()) -> frozenset[str]:
    """What has come into shared memory since `before`, and nobody uses: other tests may run beside."""
    used = shm._in_use()
    return frozenset(name for name in shm.segments() - before if str(shm.FOLDER / name) not in used)


def short_folder() -> Path:
    """A folder whose path leaves room for Ray's sockets."""
    return Path(tempfile.mkdtemp(prefix="r-", dir="/tmp"))
