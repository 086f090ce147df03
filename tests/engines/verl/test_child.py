"""verl's process: it imports early, begins when told, and leaves nothing of Ray's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from residency.engines.verl import places
from residency.engines.verl.child import WAITS, Child
from residency.errors import StageFailed

PROJECT = Path(places.__file__).parents[3]
READS = """
import json, os, pathlib, sys
pathlib.Path("up").write_text(os.environ["FIRST"])
line = sys.stdin.readline()
pathlib.Path("told").write_text(line)
"""


def until(path: Path) -> None:
    end = time.monotonic() + 30
    while not (path.is_file() and path.read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_it_waits_for_its_orders(tmp_path: Path) -> None:
    with Child(tmp_path, {"FIRST": "early"}, [sys.executable, "-c", READS]) as child:
        child.start()
        until(tmp_path / "up")
        assert not (tmp_path / "told").exists()
        assert child.run(["a=1"], {"SECOND": "late"}) == 0
    assert (tmp_path / "up").read_text() == "early"
    assert json.loads((tmp_path / "told").read_text()) == {"arguments": ["a=1"], "env": {"SECOND": "late"}}


def test_one_that_is_not_told_is_ended(tmp_path: Path) -> None:
    code = "import os, time; open('up', 'w').write(str(os.getpid())); time.sleep(60)"
    with Child(tmp_path, {}, [sys.executable, "-c", code]) as child:
        child.start()
        until(tmp_path / "up")
    assert not Path("/proc", (tmp_path / "up").read_text()).exists()


@pytest.mark.slow
def test_the_driver_takes_its_orders_and_ends_without_any(tmp_path: Path) -> None:
    pytest.importorskip("verl")
    env = {
        **os.environ,
        WAITS: "1",
        "PYTHONPATH": str(PROJECT),
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "residency.engines.verl.driver.platform",
    }
    command = [sys.executable, "-m", "residency.engines.verl.driver.train"]

    def said(orders: str) -> tuple[int, str]:
        done = subprocess.run(
            command, cwd=tmp_path, env=env, input=orders, capture_output=True, text=True, timeout=300
        )
        return done.returncode, done.stdout

    assert said("") == (1, "")
    (tmp_path / "verl.yaml").write_text("place: ${oc.env:PLACE}\n")
    orders = {
        "arguments": ["--config-path", str(tmp_path), "--config-name", "verl", "--cfg", "job", "--resolve"]
    }
    code, text = said(json.dumps({**orders, "env": {"PLACE": "here"}}) + "\n")
    assert (code, text.strip()) == (0, "place: here")


class TestRaysFolder:
    @pytest.mark.parametrize("end", ["well", "badly"])
    def test_is_gone_afterwards(self, tmp_path: Path, end: str) -> None:
        ray = places.ray_folder(tmp_path)
        (ray / "session_old").mkdir(parents=True)
        code = f"import os, sys; print(os.listdir({str(ray)!r}), flush=True); sys.exit({int(end == 'badly')})"
        assert Child(tmp_path, {}, [sys.executable, "-c", code]).run([], {}) == int(end == "badly")
        assert not ray.exists()

    def test_cannot_be_made(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr(places, "ray_folder", lambda _: tmp_path / "file" / "ray")
        with pytest.raises(StageFailed, match="cannot be made: Not a directory"):
            Child(tmp_path, {}, ["true"]).run([], {})


def test_a_signal_stops_verl_and_removes_rays_folder(tmp_path: Path) -> None:
    """As the launcher stops a stage: SIGTERM to each process of it."""
    ray = places.ray_folder(tmp_path)
    child = "import pathlib, time; pathlib.Path('up').touch(); time.sleep(60)"
    code = (
        "import pathlib, sys; from residency.engines.verl.child import Child;"
        f"sys.exit(abs(Child(pathlib.Path.cwd(), {{}}, [sys.executable, '-c', {child!r}]).run([], {{}})))"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(places.__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=env)
    until = time.monotonic() + 30
    while not (tmp_path / "up").exists() and time.monotonic() < until:
        time.sleep(0.02)
    assert ray.is_dir()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == signal.SIGTERM
    assert not ray.exists()
