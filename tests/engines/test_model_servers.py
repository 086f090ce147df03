"""What each engine that serves a model is started with."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.engines import model_server, serving
from residency.engines.base import Job
from residency.engines.vllm import serve as vllm_serve
from residency.machine import Memory

PROJECT = Path(__file__).resolve().parents[2]
TOKEN = "s3cret-token-of-the-test"


def job(tmp_path: Path, engine: str, gpus: int = 0, **more: Any) -> Job:
    model = tmp_path / "model"
    model.mkdir(exist_ok=True)
    config = {"kind": "serve", "engine": engine, "model": str(model), **more}
    return Job("served", "serve", config, tmp_path, tmp_path, PROJECT, gpus=gpus, threads=2)


def started(engine: str, given: Job) -> tuple[dict[str, Any], Any]:
    launch = serving.get(engine).prepare(given)
    return yaml.safe_load(launch.files["server.yaml"]), launch


def test_the_engines_that_serve() -> None:
    assert serving.names() == ["llamafactory", "retriever", "sglang", "transformers", "vllm"]
    with pytest.raises(KeyError):
        serving.get("none")


def test_transformers(tmp_path: Path) -> None:
    config, launch = started("transformers", job(tmp_path, "transformers", transformers={"batch": 4}))
    assert config == {
        "model": str(tmp_path / "model"),
        "served_model_name": "model",
        "host": "127.0.0.1",
        "port": 8000,
        "batch": 4,
        "threads": 2,
        "device": "cpu",
    }
    assert launch.env["HF_HUB_OFFLINE"] == "1"
    assert started("transformers", job(tmp_path, "transformers", gpus=1))[0]["device"] == "cuda"
    hub = started("transformers", Job("s", "serve", {"model": "owner/name"}, tmp_path, tmp_path, PROJECT))
    assert hub[0]["served_model_name"] == "owner/name"
    assert "HF_HUB_OFFLINE" not in hub[1].env


def test_vllm(tmp_path: Path) -> None:
    block = {
        "max_model_len": 512,
        "enforce_eager": True,
        "enable_prefix_caching": False,
        "seed": None,
        "override_generation_config": {"a": 1},
        "extra_args": ["--x", "1"],
    }
    config, _ = started("vllm", job(tmp_path, "vllm", gpus=2, vllm=block, served_model_name="doctor", port=0))
    argv = config["argv"]
    assert argv[1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", str(tmp_path / "model")]
    rest = " ".join(argv[5:])
    assert rest == (
        "--host {host} --port {port} --served-model-name doctor --max-model-len 512 --enforce-eager "
        '--no-enable-prefix-caching --override-generation-config {"a": 1} --tensor-parallel-size 2 --x 1'
    )
    assert (config["token_to"], config["port"]) == ("VLLM_API_KEY", 0)
    split = started("vllm", job(tmp_path, "vllm", gpus=2, vllm={"pipeline_parallel_size": 2}))[0]["argv"]
    assert "--tensor-parallel-size" not in split


def test_vllm_on_a_cpu_takes_a_share_of_what_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def share(free: int, **block: Any) -> str | None:
        monkeypatch.setattr(vllm_serve, "memory", lambda: Memory(free << 30, 100 << 30))
        argv = started("vllm", job(tmp_path, "vllm", vllm=block))[0]["argv"]
        flag = "--gpu-memory-utilization"
        return argv[argv.index(flag) + 1] if flag in argv else None

    assert share(95) == "0.5"
    assert share(20) == "0.12"
    assert share(95, gpu_memory_utilization=0.3) == "0.3"
    assert share(95, kv_cache_memory_bytes=1 << 30) is None


def test_why_vllm_did_not_start(tmp_path: Path) -> None:
    worker, core = (
        "(VllmWorker-0 pid=2) ERROR 11-26 08:26:43 [x.py:9]",
        "(EngineCore pid=1) ERROR 11-26 08:26:45 [y.py:1]",
    )
    text = f"""{worker} Traceback (most recent call last):
{worker}   File "cpu_worker.py", line 83, in __init__
{worker}     raise ValueError(
{worker} ValueError: Available memory on node 0 (16/18 GiB) is less than desired
{core} EngineCore failed to start.
{core} Exception: WorkerProc initialization failed due to an exception in a background process.
RuntimeError: Engine core initialization failed. See root cause above.
"""
    engine, given = serving.get("vllm"), job(tmp_path, "vllm")
    message, hint = engine.explain_failure(given, text)
    assert message == "Available memory on node 0 (16/18 GiB) is less than desired"
    assert "gpu_memory_utilization" in str(hint)
    assert engine.explain_failure(given, "RuntimeError: another")[0] == "RuntimeError: another"


def test_an_adapter_has_the_name_that_clients_know(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    argv = started("vllm", job(tmp_path, "vllm", adapter="adapter", served_model_name="doctor"))[0]["argv"]
    assert argv[argv.index("--lora-modules") + 1] == f"doctor={tmp_path / 'adapter'}"
    assert argv[argv.index("--served-model-name") + 1] == "doctor-base"


def test_sglang(tmp_path: Path) -> None:
    config, _ = started("sglang", job(tmp_path, "sglang", gpus=4, sglang={"mem_fraction_static": 0.5}))
    assert config["argv"][1].endswith("engines/sglang/start.py")
    assert " ".join(config["argv"][4:]) == (
        "--host {host} --port {port} --served-model-name model --mem-fraction-static 0.5 --tp-size 4"
    )


def test_llamafactory(tmp_path: Path) -> None:
    config, launch = started("llamafactory", job(tmp_path, "llamafactory", llamafactory={"template": "qwen"}))
    assert yaml.safe_load(launch.files["api.yaml"]) == {
        "model_name_or_path": str(tmp_path / "model"),
        "template": "qwen",
    }
    assert config["env"] == {"API_HOST": "{host}", "API_PORT": "{port}", "API_MODEL_NAME": "model"}


@pytest.mark.parametrize("engine", ["transformers", "vllm", "sglang", "llamafactory"])
def test_the_token_is_named_and_never_told(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SERVED_TOKEN", TOKEN)
    given = job(tmp_path, engine, token_env="SERVED_TOKEN")
    server = serving.get(engine)
    launch = server.prepare(given)
    assert "SERVED_TOKEN" in launch.files["server.yaml"]
    assert TOKEN not in " ".join([*launch.argv, *launch.files.values(), *launch.env.values()])
    assert "$SERVED_TOKEN" in server.example("http://127.0.0.1:1", given)


def test_flags() -> None:
    assert model_server.flags({"a_b": [1, "x"], "c": None, "d": 1e-6}) == ["--a-b", "1", "x", "--d", "1e-06"]


FAKE = """
import http.server, os, sys
assert sys.argv[1:3] == ["--port", os.environ["API_PORT"]], sys.argv
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.headers["Authorization"] == os.environ["KEY"] else 401)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


def run(folder: Path, env: dict[str, str], **config: Any) -> subprocess.Popen[str]:
    (folder / "fake.py").write_text(FAKE)
    whole = {
        "host": "127.0.0.1",
        "port": 0,
        "argv": [sys.executable, "fake.py", "--port", "{port}"],
        "env": {"API_PORT": "{port}"},
        "token_to": "KEY",
        **config,
    }
    (folder / "server.yaml").write_text(yaml.safe_dump(whole))
    return subprocess.Popen(
        [sys.executable, "-m", "residency.engines.exec_server", "server.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_another_projects_server_is_started_at_a_free_port(tmp_path: Path) -> None:
    process = run(tmp_path, {"SERVED_TOKEN": TOKEN, "RESIDENCY_PORT": "0"}, port=9, token_env="SERVED_TOKEN")
    try:
        for _ in range(600):
            try:
                told = json.loads((tmp_path / "address.json").read_text())
                asked = urllib.request.Request(f"{told['url']}/health", headers={"Authorization": TOKEN})
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    assert answer.status == 200
                break
            except (OSError, ValueError):
                assert process.poll() is None, process.stdout and process.stdout.read()
                time.sleep(0.05)
        else:
            pytest.fail("it does not answer")
        assert told["pid"] == process.pid, "it has become the server"
        assert told["port"] != 9
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in command
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("config", "code", "words"),
    [
        ({"host": "0.0.0.0"}, 2, "without a token"),
        ({"token_env": "NOT_SET_ANYWHERE"}, 3, "NOT_SET_ANYWHERE is not set"),
        ({"argv": ["/no/such/python"]}, 3, "/no/such/python cannot be started"),
    ],
)
def test_it_does_not_start(tmp_path: Path, config: dict[str, Any], code: int, words: str) -> None:
    process = run(tmp_path, {}, **config)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert words in said
    assert "Traceback" not in said


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = run(tmp_path, {}, port=taken.getsockname()[1])
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "cannot listen" in said
