"""Another's Ray cluster on the machine, and trainings that fail. PPO joins the cluster; the others,
which have Ray's own variable pointing to it, must not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from verl_case import SECONDS, Flow, recipe, short_folder, tiny, unused_segments

from residency.engines.verl import cluster as joining
from residency.engines.verl import shm
from residency.errors import Missing

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip("verl")

ASK = """
import json, ray, sys
ray.init(address=sys.argv[1], logging_level="ERROR", log_to_driver=False)
work = ray.remote(num_cpus=1)(lambda: 6 * 7)
print("found", json.dumps({"answer": ray.get(work.remote()), "gpus": ray.available_resources().get("GPU")}))
"""


@dataclass
class Cluster:
    """A Ray cluster of someone else."""

    address: str
    env: Mapping[str, str]
    """What those who join it need in their environment."""

    def ask(self) -> dict[str, Any]:
        """What a task in it computes, and how many GPUs are free."""
        command = [sys.executable, "-c", ASK, self.address]
        done = subprocess.run(
            command,
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        found: dict[str, Any] = json.loads(done.stdout.partition("found ")[2])
        return found

    def idle(self) -> bool:
        """True once all GPUs are free again; Ray takes a moment to notice that a job has ended."""
        until = time.monotonic() + 60
        while self.ask() != {"answer": 42, "gpus": 2.0}:
            if time.monotonic() > until:
                return False
            time.sleep(1)
        return True


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def started(*options: str, **env: str) -> Iterator[Cluster]:
    """A cluster, from its start until it answers, and killed at the end."""
    folder, port = short_folder(), free_port()
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={port}", *options, "--include-dashboard=false"),
        *("--disable-usage-stats", f"--temp-dir={folder}"),
    ]
    log = (folder / "log.txt").open("w")
    process = subprocess.Popen(
        command, stdout=log, stderr=log, env={**os.environ, **env}, start_new_session=True
    )
    found = Cluster(f"127.0.0.1:{port}", env)
    try:
        until = time.monotonic() + SECONDS
        while True:
            with suppress(subprocess.CalledProcessError):
                assert found.ask()["answer"] == 42
                break
            assert process.poll() is None, (folder / "log.txt").read_text()
            assert time.monotonic() < until
        yield found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with started("--num-cpus=24", "--num-gpus=2", RAY_AUTH_MODE="disabled") as found:
        yield found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny"))


def bearing(name: str, value: str) -> list[int]:
    """The processes with a variable in their environment, wherever they were started."""
    found = []
    for entry in os.listdir("/proc"):
        with suppress(OSError):
            if entry.isdigit() and f"{name}={value}".encode() in (
                Path("/proc", entry, "environ").read_bytes().split(b"\0")
            ):
                found.append(int(entry))
    return found


def test_ppo_with_a_critic_of_another_shape_on_two_ranks_of_a_cluster_that_is_joined(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    critic = tiny(tmp_path / "critic", hidden=96, layers=3, seed=3)
    over = {
        "algorithm": {
            "adv_estimator": "gae",
            "use_kl_in_reward": True,
            "kl_ctrl": {"type": "adaptive", "kl_coef": 0.1, "horizon": 100, "target_kl": 0.01},
        },
        "critic": {"model": {"path": str(critic)}, "optim": {"lr": 1e-3}},
        "actor_rollout_ref": {"rollout": {"n": 1}},
        "trainer": {"n_gpus_per_node": 2},
        "ray_kwargs": {"ray_init": {"address": cluster.address}},
    }
    flow = Flow.make(tmp_path / "flow", recipe(model, verl=over)).done()
    rows = flow.rows()
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["value_loss"] > 0
        assert row["grad_norm"] > 0
    assert rows[0]["reward_less_kl"] == pytest.approx(rows[0]["reward"], abs=1e-4), "no KL before a step"
    last = flow.stage / "checkpoints" / "global_step_2"
    assert {path.name for path in last.iterdir()} >= {"actor", "critic", "data.pt"}
    kept = json.loads((last / "trainer.json").read_text())["kl_coefficient"]
    assert kept != 0.1, "the adaptive coefficient has moved, and is kept"
    assert flow.none_left()
    assert cluster.idle(), "nothing of ours holds its GPUs"
    assert bearing("RESIDENCY_STAGE", str(flow.stage)) == []


def test_what_a_cluster_wants_to_see(cluster: Cluster) -> None:
    none = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    ours = {**none, "RAY_AUTH_TOKEN": "0" * 64}
    assert joining.authentication(cluster.address, ours) == {"RAY_AUTH_MODE": "disabled"}
    with started("--num-cpus=1", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=ours["RAY_AUTH_TOKEN"]) as guarded:
        assert joining.authentication(guarded.address, ours) == {"RAY_AUTH_MODE": "token"}
        with pytest.raises(Missing, match="refuses this token"):
            joining.authentication(guarded.address, {**none, "RAY_AUTH_TOKEN": "1" * 64})


def test_a_reward_that_always_fails_ends_the_training_with_its_reason(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    config = recipe(
        model,
        rewards=[{"fn": "flow_rewards.broken", "name": "judge"}],
        reward_calls={"retries": 0},
    )
    flow = Flow.make(tmp_path / "flow", config, RAY_ADDRESS=cluster.address)
    before = shm.segments()
    code, said = flow.run()
    assert code == 4, said
    assert flow.state["error"]["message"] == (
        "stage rlvr: step 1: 8 of 8 samples have no reward, more than "
        "reward_calls.stop_share 0.25 allows; judge: ConnectionError: the judge is away"
    )
    assert flow.none_left(), (flow.processes(), flow.ray_folders())
    assert not unused_segments(before)
    assert cluster.idle()


def test_a_dead_rollout_server_ends_the_training_at_once(
    cluster: Cluster, model: Path, tmp_path: Path
) -> None:
    over = {"trainer": {"total_training_steps": 10_000}}
    config = recipe(model, verl=over, checkpoints={"every": 10_000})
    flow = Flow.make(tmp_path / "flow", config, RAY_ADDRESS=cluster.address)
    before = shm.segments()
    process = flow.start()
    flow.when(process, lambda: 2 in flow.logged_steps())
    (server,) = (pid for pid, line in flow.processes().items() if line.startswith("ray::Server"))
    os.kill(server, signal.SIGKILL)
    struck = time.monotonic()
    said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 4, said
    assert time.monotonic() - struck < 60, "verl by itself would wait for ever"
    assert "rollout server died" in flow.state["error"]["message"]
    assert flow.none_left(), (flow.processes(), flow.ray_folders())
    assert not unused_segments(before)
    assert cluster.idle()
