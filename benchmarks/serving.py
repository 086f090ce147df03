"""Sixteen clients ask a model at once: tokens a second of our server, LLaMA-Factory's, and vLLM's.

Each server is started in turn by `launch.py serve`, on the same machine, and answers the same questions.
vLLM is measured where its environment has been made (`launch.py setup vllm`). `RESIDENCY_BENCH_MODEL` is
the model's folder, a SmolLM2-135M-Instruct.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.timing import LAUNCH, PROJECT, Result, Unmeasured, environment
from residency import environments

CLIENTS = 16
TOKENS = 64
GOAL = 8.0
"""As many times LLaMA-Factory's tokens a second."""
START_SECONDS = 400
SUBJECTS = (
    "aspirin", "iron", "zinc", "the heart", "the liver", "sleep", "asthma", "diabetes", "vaccines", "fever",
    "vitamin D", "the kidneys", "migraine", "insulin", "blood pressure", "antibiotics",
)  # fmt: skip


def sixteen_clients() -> Iterator[Result]:
    """Tokens a second that sixteen clients get together."""
    named = os.environ.get("RESIDENCY_BENCH_MODEL")
    if not named:
        raise Unmeasured("set RESIDENCY_BENCH_MODEL to the folder of a SmolLM2-135M-Instruct checkpoint")
    ours, _ = _measure(named, "transformers", rounds=3)
    theirs, _ = _measure(named, "llamafactory", rounds=1)
    yield Result(
        "model server, 16 clients",
        ours,
        "tokens/s",
        goal=GOAL * theirs,
        against=f"llamafactory-cli api: {theirs:.1f} tokens/s",
        ratio=ours / theirs,
        more_is_better=True,
    )
    if environments.python("vllm") is None:
        return
    vllm, _ = _measure(named, "vllm", rounds=3)
    yield Result(
        "the same, against vLLM",
        ours,
        "tokens/s",
        against=f"vLLM {environments.version('vllm', 'vllm')}: {vllm:.1f} tokens/s",
        ratio=ours / vllm,
        more_is_better=True,
    )


def _measure(model: str, engine: str, *, rounds: int) -> tuple[float, int]:
    """Tokens a second, and how many there were."""
    with _served(model, engine) as url:
        name = json.load(urllib.request.urlopen(f"{url}/v1/models", timeout=60))["data"][0]["id"]
        _ask(url, name, SUBJECTS[0], 8)  # the first is slower
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as pool:
            made = list(pool.map(lambda s: [_ask(url, name, s, TOKENS) for _ in range(rounds)], SUBJECTS))
        seconds = time.perf_counter() - began
    tokens = sum(map(sum, made))
    if tokens < CLIENTS * rounds * TOKENS / 2:
        raise Unmeasured(f"{engine} made {tokens} tokens only")
    return tokens / seconds, tokens


def _ask(url: str, name: str, subject: str, tokens: int) -> int:
    """The tokens of one answer."""
    question = f"Explain in several paragraphs what a patient should know about {subject}."
    body = {
        "model": name,
        "messages": [{"role": "user", "content": question}],
        "max_tokens": tokens,
        "temperature": 1.0,
        "top_p": 0.95,
    }
    asked = urllib.request.Request(
        f"{url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=600) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


@contextlib.contextmanager
def _served(model: str, engine: str) -> Iterator[str]:
    """The address of a server as long as the block lasts."""
    more = {"vllm": ["--set", "vllm={max_model_len: 2048, enforce_eager: true}"]}
    with tempfile.TemporaryDirectory() as folder:
        env = environment(RESIDENCY_RUNS=str(Path(folder) / "runs"))
        words = ["serve", model, "--engine", engine, "--set", "port=0", *more.get(engine, ())]
        process = subprocess.Popen(
            [*LAUNCH, *words],
            cwd=PROJECT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            yield _address(process, engine)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()


def _address(process: subprocess.Popen[str], engine: str) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if found := re.match(r"ready at (http://\S+?);", line):
            return found[1]
    raise Unmeasured(f"{engine} did not start: {''.join(said[-3:])}")


MEASURES = (sixteen_clients,)
