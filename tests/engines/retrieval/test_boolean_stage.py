"""Index stages of PubMed's language: what they leave, damaged, killed, and who opens them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.engines.base import Job
from residency.engines.retrieval.boolean import ENGINE
from residency.engines.retrieval.main import main
from residency.errors import Missing, StageFailed
from residency.retrieval import manifest
from residency.retrieval.boolean.local import LocalSearch

PROJECT = Path(__file__).resolve().parents[3]
ARTICLE = (
    '<PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM"><PMID Version="1">{pmid}</PMID><Article>'
    "<Journal><Title>J</Title></Journal><ArticleTitle>{title}</ArticleTitle><AuthorList><Author>"
    "<LastName>Smith</LastName><Initials>JA</Initials></Author></AuthorList></Article></MedlineCitation>"
    "<PubmedData/></PubmedArticle>"
)
MESH = "C08\tLung Diseases\nC08.127\tAsthma\n"


def rows(count: int) -> list[dict[str, Any]]:
    """Records of a corpus's form."""
    return [
        {
            "pmid": str(1000 + n),
            "title": f"Trial {n} of {'asthma' if n % 3 else 'hypertension'}",
            "abstract": f"We studied patient group {n % 17} at site {n * 7919 % 101}.",
            "mesh": [{"name": "Asthma" if n % 3 else "Hypertension", "major": True, "qualifiers": []}],
            "publication_types": ["Journal Article"],
            "date": "2001-02-03",
            "languages": ["eng"],
        }
        for n in range(count)
    ]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(60)))
    (tmp_path / "mesh.txt").write_text(MESH)
    (tmp_path / "stage").mkdir()
    return job_of(tmp_path, corpus="rows.jsonl", mesh="mesh.txt")


def job_of(folder: Path, **keys: Any) -> Job:
    config = {"kind": "index", "engine": "boolean", **keys}
    return Job("index", "index", config, folder / "stage", folder, PROJECT)


def made(job: Job) -> int:
    """Write what the command reads, and run it in this process."""
    for name, text in ENGINE.prepare(job).files.items():
        (job.folder / name).write_text(text)
    return main([str(job.folder / "stage.yaml")])


def test_what_it_leaves(job: Job) -> None:
    assert made(job) == 0
    found = ENGINE.verify(job)
    assert found.metrics["records"] == 60
    assert found.metrics["headings"] == 2
    search = LocalSearch.open(found.outputs["index"])
    assert search.search("lung diseases[mh]").count == 40
    assert search.search("hypertension[ti] NOT 1000[uid]").count == 19
    assert ENGINE.progress(job).unit == "record"
    assert ENGINE.finished(job)
    assert ENGINE.resume(job) == "the whole index"


def test_records_of_xml_that_were_replaced_or_deleted(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).write_text(f"<PubmedArticleSet>\n{text}\n</PubmedArticleSet>\n")

    def titled(pmid: str, title: str) -> str:
        return ARTICLE.format(pmid=pmid, title=title)

    gone = '<DeleteCitation><PMID Version="1">2</PMID></DeleteCitation>'
    write("a.xml", titled("1", "Old words") + titled("2", "Taken away") + titled("3", "Kept"))
    write("b.xml", titled("1", "New words") + gone)
    (tmp_path / "stage").mkdir()
    job = job_of(tmp_path, corpus=["a.xml", "b.xml"])
    assert made(job) == 0
    found = ENGINE.verify(job)
    search = LocalSearch.open(found.outputs["index"])
    assert set(search.search("smith j[au]").pmids) == {"1", "3"}
    assert search.search("old[ti]").count == 0
    assert search.search("new[ti]").pmids == ("1",)
    left = json.loads((job.folder / "report.json").read_text())["left_out"]
    assert left == {"replaced by a later version, or deleted": 2, "deleted by NLM": 1}


def test_a_limit(job: Job) -> None:
    job = job_of(job.recipe_folder, corpus="rows.jsonl", limit=7)
    assert made(job) == 0
    assert ENGINE.verify(job).metrics["records"] == 7


def test_a_file_that_has_changed_is_noticed_and_made_anew(job: Job) -> None:
    assert made(job) == 0
    path = job.outputs / "index" / "words.docs.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(Missing, match=r"words.docs.npy is not what was written"):
        ENGINE.verify(job)
    (job.outputs / ".index.abc.part").mkdir()
    assert ENGINE.resume(job) is None
    assert list(job.outputs.iterdir()) == []
    assert made(job) == 0
    assert ENGINE.verify(job).metrics["records"] == 60


def test_an_index_that_lacks_records_fails(job: Job) -> None:
    assert made(job) == 0
    report = job.folder / "report.json"
    report.write_text(json.dumps({**json.loads(report.read_text()), "records": 61}))
    with pytest.raises(StageFailed, match="60 records, and its report says 61"):
        ENGINE.verify(job)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no records to index"),
        ('{"id": "1", "title": "x"}\n', "a row without a PMID"),
    ],
)
def test_rows_that_are_none(job: Job, capsys: pytest.CaptureFixture[str], text: str, said: str) -> None:
    (job.recipe_folder / "rows.jsonl").write_text(text)
    assert made(job) != 0
    printed = capsys.readouterr().out
    assert said in printed
    why, _ = ENGINE.explain_failure(job, printed)
    assert said in why
    with pytest.raises(StageFailed, match="ended without an index"):
        ENGINE.verify(job)


def test_a_retrieval_server_says_what_it_was_given(job: Job) -> None:
    assert made(job) == 0
    with pytest.raises(Missing, match="an index for PubMed's language") as raised:
        manifest.read(job.outputs / "index")
    assert "pubmed search" in (raised.value.hint or "")


@pytest.mark.slow
def test_killed_it_begins_anew_and_the_command_line_finds_it(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(20_000)))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        yaml.safe_dump(
            {"kind": "index", "engine": "boolean", "name": "mine", "corpus": str(tmp_path / "rows.jsonl")}
        )
    )
    env = {
        **os.environ,
        "RESIDENCY_RUNS": str(tmp_path / "runs"),
        "RESIDENCY_CACHE": str(tmp_path / "cache"),
    }
    command = [sys.executable, "launch.py", str(recipe), "--plain"]
    first = subprocess.Popen(command, cwd=PROJECT, env=env, start_new_session=True)
    until = time.monotonic() + 120
    while not (logs := list((tmp_path / "runs/store").glob("index-*/log.jsonl"))):
        assert first.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(json.loads((logs[0].parent / "state.json").read_text())["pid"], signal.SIGKILL)
    again = subprocess.run(command, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stdout + again.stderr
    (stage,) = (tmp_path / "runs/store").glob("index-*")
    assert sorted(path.name for path in (stage / "outputs").iterdir()) == ["index"]
    asked = [
        sys.executable,
        "launch.py",
        "pubmed",
        "search",
        "hypertension[mh]",
        "--index",
        "mine",
        "--count",
    ]
    said = subprocess.run(asked, cwd=PROJECT, env=env, capture_output=True, text=True, check=False)
    assert said.stdout.strip() == "6667", said.stderr
