"""25,000 records, every tenth answer faulty, killed in the middle: exactly the 25,000, each fetched once."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "pubmed"))
from eutils_server import NAMES, Faulty, generated

from residency.pubmed.corpus import open_corpus
from residency.pubmed.eutils import replies
from residency.pubmed.eutils.standin import serve

PROJECT = Path(__file__).resolve().parents[2]
RECORDS = 25_000
RECIPE = """kind: corpus
name: killed
pubmed:
  query: asthma
  per_second: 20
dedupe: true
"""


def safe(cache: Path) -> set[int]:
    """The PMIDs of all answers that are whole on the disk, indexed or not."""
    found: set[int] = set()
    for path in cache.glob("eutils/*/batches/*/*.xml.gz"):
        found.update(replies.pmids(gzip.decompress(path.read_bytes())))
    return found


@pytest.mark.slow
def test_25_000_records_through_faults_and_a_kill(tmp_path: Path) -> None:
    # More than twenty a second are refused; every tenth answer is spoilt, in twelve ways in turn.
    server = Faulty(generated(RECORDS), per_second=20, every=10, silence=1.0)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    command = [sys.executable, "launch.py", str(tmp_path / "recipe.yaml"), "--plain"]
    cache = tmp_path / "cache"
    env = {
        **{key: value for key, value in os.environ.items() if key != "RESIDENCY_MIRROR"},
        "RESIDENCY_CACHE": str(cache),
        "RESIDENCY_RUNS": str(tmp_path / "runs"),
    }
    with serve(server) as url:
        env["RESIDENCY_EUTILS_URL"] = url
        first = subprocess.Popen(
            command, cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        until = time.monotonic() + 120
        while len(server.given) < RECORDS // 2 and time.monotonic() < until and first.poll() is None:
            time.sleep(0.02)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        time.sleep(3)  # the supervisor ends the stage's command
        before = safe(cache)
        at = len(server.asked)
        assert RECORDS // 4 < len(before) < RECORDS

        done = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    asked = {
        int(pmid)
        for program, parameters in server.asked[at:]
        if program == "efetch"
        for pmid in parameters["id"].split(",")
    }
    assert not asked & before, "what was safe has been asked for again"
    assert before | asked == set(range(1, RECORDS + 1))
    assert set(server.spoilt) == set(NAMES)
    (folder,) = (tmp_path / "runs" / "store").glob("corpus-*/outputs/corpus")
    corpus = open_corpus(folder)
    assert corpus.pmids() == list(range(1, RECORDS + 1))
    assert all(row["title"] == f"Study {row['pmid']} of asthma." for row in corpus.rows(["pmid", "title"]))

    # Once more, from the store alone: a new search, and not one record fetched.
    at = len(server.asked)
    with serve(server) as url:
        env |= {"RESIDENCY_EUTILS_URL": url}
        moved = next(cache.glob("eutils/127.0.0.1_*"))
        moved.rename(cache / "eutils" / url.split("/")[2].replace(":", "_"))
        again = subprocess.run(
            [*command, "--set", "dedupe=false"],
            cwd=PROJECT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert again.returncode == 0, again.stdout + again.stderr
    assert {program for program, _ in server.asked[at:]} == {"esearch"}
