"""Index stages through the launcher: killed, refused, mended, and what they leave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from retrieval_case import make_encoder, rows, write_rows

from residency.retrieval.searcher import open_index

PROJECT = Path(__file__).resolve().parents[3]


class Case:
    """A recipe of its own, with its runs and its cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **os.environ,
            "RESIDENCY_RUNS": str(folder / "runs"),
            "RESIDENCY_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "PASSIVE",
            "CUDA_VISIBLE_DEVICES": "",
        }
        self.config: dict[str, Any] = {
            "kind": "index",
            "corpus": "rows.jsonl",
            "encoder": {"model": "./encoder", "dtype": "float32"},
            "bm25": True,
        }

    def command(self, **keys: Any) -> list[str]:
        """The launcher's command for the recipe with these keys laid over it."""
        (self.folder / "recipe.yaml").write_text(yaml.safe_dump({**self.config, **keys}))
        return [sys.executable, "launch.py", str(self.folder / "recipe.yaml"), "--plain"]

    def run(self, **keys: Any) -> tuple[int, str]:
        """Its exit code and what was printed."""
        done = subprocess.run(
            self.command(**keys),
            cwd=PROJECT,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stages(self) -> list[Path]:
        """Every stage's folder, the newest last."""
        return sorted((self.folder / "runs" / "store").glob("index-*"), key=lambda path: path.stat().st_mtime)

    def log(self) -> str:
        return (self.stages()[-1] / "log.txt").read_text()


@pytest.fixture
def case(tmp_path: Path) -> Case:
    make_encoder(tmp_path / "encoder")
    write_rows(tmp_path / "rows.jsonl", rows(5000))
    return Case(tmp_path)


@pytest.mark.slow
def test_killed_at_a_shard_it_goes_on_and_ends_with_the_same_index(case: Case, tmp_path: Path) -> None:
    process = subprocess.Popen(
        case.command(), cwd=PROJECT, env=case.env, stdout=subprocess.DEVNULL, start_new_session=True
    )
    vectors = tmp_path / "cache" / "vectors"
    until = time.monotonic() + 300
    while not list(vectors.glob("*/000000.npy")):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)  # the launcher
    process.wait()
    worker = json.loads((case.stages()[-1] / "state.json").read_text())["pid"]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    assert 1 <= len(list(vectors.glob("*/*.npy"))) <= 3
    code, said = case.run()
    assert code == 0, said
    assert re.search(r"[\d,]+ of 5,000 documents are encoded already", case.log())
    searcher = open_index(case.stages()[-1] / "outputs" / "index", threads=1)
    assert searcher.count == 5000
    assert not list(vectors.glob("*/*.npy")), "vectors are for the time until the index is whole"
    whole = Case(tmp_path)
    whole.env = {
        **case.env,
        "RESIDENCY_RUNS": str(tmp_path / "again"),
        "RESIDENCY_CACHE": str(tmp_path / "c2"),
    }
    code, said = whole.run()
    assert code == 0, said
    other = open_index(next((tmp_path / "again" / "store").glob("index-*")) / "outputs" / "index", threads=1)
    queries = [row["title"] for row in rows(40)]
    for mine, theirs in zip(searcher.rank(queries, 5), other.rank(queries, 5), strict=True):
        assert [score for _, score in mine] == pytest.approx([score for _, score in theirs], abs=1e-6)
    assert searcher.manifest.documents_sha256 == other.manifest.documents_sha256


@pytest.mark.slow
def test_a_recall_below_the_floor_fails_and_costs_no_second_encoding(case: Case) -> None:
    index = {"type": "ivf_flat", "nlist": 100, "nprobe": 1, "min_recall": 0.99}
    code, said = case.run(index=index)
    assert code == 4
    assert "recall@10 of the ivf_flat index is" in said
    assert "raise index.nprobe or leave it out, or lower index.min_recall" in said
    code, said = case.run(index={**index, "nprobe": None})
    assert code == 0, said
    assert "5,000 of 5,000 documents are encoded already" in case.log()
    assert "encoded 5,000" not in case.log()
    report = json.loads((case.stages()[-1] / "outputs" / "index" / "report.json").read_text())
    assert report["recall_at_10"] >= 0.99
    assert report["finds_itself_dense"] >= 0.5
    assert report["vectors_agree"] > 0.999


@pytest.mark.slow
def test_several_processes_give_what_one_gives(case: Case) -> None:
    found = []
    for processes in (1, 2):
        case.env["RESIDENCY_RUNS"] = str(case.folder / f"runs{processes}")
        encoder = {**case.config["encoder"], "processes": processes}
        code, said = case.run(encoder=encoder, bm25=False)
        assert code == 0, said
        (stage,) = (case.folder / f"runs{processes}" / "store").glob("index-*")
        found.append(open_index(stage / "outputs" / "index", threads=1))
    assert "in 2 processes" in (stage / "log.txt").read_text()
    queries = [row["title"] for row in rows(20)]
    one, two = (searcher.rank(queries, 5) for searcher in found)
    for a, b in zip(one, two, strict=True):
        assert [score for _, score in a] == pytest.approx([score for _, score in b], abs=1e-5)


@pytest.mark.slow
def test_mistakes_that_only_the_run_can_see(case: Case) -> None:
    (case.folder / "untitled.jsonl").write_text('{"id": "1", "title": "T", "text": ""}\n')
    code, said = case.run(corpus="untitled.jsonl")
    assert code == 4
    assert "the corpus has no documents to index" in said
    code, said = case.run(encoder={"model": "./encoder", "max_passage_length": 512})
    assert code == 4
    assert "encoder.max_passage_length is 512" in said
    assert "takes 64 tokens" in said
    write_rows(case.folder / "rows.jsonl", [*rows(3), *rows(1)])
    code, said = case.run()
    assert code == 4
    assert "two documents of the corpus have the id 0" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_vectors_of_other_documents_are_noticed(case: Case, tmp_path: Path) -> None:
    """The shards change places between encoding and use: the index must not be made of them."""
    index = {"type": "ivf_flat", "nlist": 100, "nprobe": 1, "min_recall": 1.0}
    code, _ = case.run(index=index)
    assert code == 4
    (first,) = (tmp_path / "cache" / "vectors").glob("*/000000.npy")
    np.save(first, np.load(first)[::-1])
    code, said = case.run(index={"type": "flat"})
    assert code == 4
    assert "vectors and documents disagree: a document that is encoded again has another vector" in said
