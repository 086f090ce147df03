"""`launch.py corpus`: stats, show, export, of a folder, a run, the latest."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from residency.cli.main import main
from residency.errors import EXIT_DONE, EXIT_MISSING, EXIT_RECIPE
from residency.pubmed.corpus import write_corpus

PROJECT = Path(__file__).resolve().parents[2]
FIGURES = {
    "with_abstract": 2,
    "with_mesh": 1,
    "words": 4,
    "years": {"1979": 1, "2020": 1},
    "languages": {"eng": 2},
}
ABOUT = {
    "licence": "CC0-1.0",
    "query": {"term": "asthma", "found": 5, "server": "h", "entered_until": "2024-01-01"},
    "dropped": [{"reason": "no abstract", "n": 3, "examples": []}],
    "figures": FIGURES,
}
ROWS = [
    {
        "pmid": 5,
        "title": "On asthma",
        "abstract": "AIM: One.\nRESULT: Two.",
        "authors": [f"Author {letter}" for letter in "ABCDEFGHIJ"],
        "mesh": [
            {
                "name": "Asthma",
                "ui": "D001249",
                "major": True,
                "qualifiers": [{"name": "therapy", "ui": "Q000628", "major": False}],
            }
        ],
        "date": "1979",
        "year": 1979,
    },
    {"pmid": 8, "title": "On lungs", "abstract": "Word. " * 40},
]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(write_corpus(ROWS, tmp_path / "corpus", about=ABOUT).folder)


def test_stats(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "stats", "--corpus", folder]) == EXIT_DONE
    said = capsys.readouterr().out
    assert "2 records in" in said
    for text in ("5 to 8", "CC0-1.0", "2 (100.0%)", "asthma", "3: no abstract", "1979", "eng"):
        assert text in said
    assert main(["corpus", "stats", "--corpus", folder, "--format", "json"]) == EXIT_DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["count"], found["files"], found["query"]["found"]) == (2, 1, 5)


def test_show(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "show", "5", "--corpus", folder]) == EXIT_DONE
    said = capsys.readouterr().out
    for text in ("On asthma", "Author A, ", "and 2 more", "RESULT: Two.", "MeSH: Asthma*/therapy"):
        assert text in said
    assert main(["corpus", "show", "8", "6", "--corpus", folder, "--format", "json"]) == EXIT_MISSING
    shown = capsys.readouterr()
    assert [row["pmid"] for row in json.loads(shown.out)] == [8]
    assert "6 not in this corpus" in shown.err


def test_export(folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "p.jsonl"
    assert main(["corpus", "export", "--corpus", folder, "-o", str(out), "--words", "20"]) == EXIT_DONE
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["5", "8", "8-2", "8-3"]
    assert "wrote 4 passages" in capsys.readouterr().out
    assert main(["corpus", "export", "--corpus", folder, "-o", str(out)]) == EXIT_RECIPE
    assert "is there already" in capsys.readouterr().err
    for wrong in (["--tokens", "20"], ["--words", "3"], ["--words", "20", "--tokens", "9"]):
        assert main(["corpus", "export", "--corpus", folder, *wrong]) == EXIT_RECIPE
    assert main(["corpus", "export", "--corpus", folder]) == EXIT_DONE
    assert capsys.readouterr().out.count('"contents"') == 2


def test_where_no_corpus_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESIDENCY_RUNS", str(tmp_path))
    assert main(["corpus", "stats"]) == EXIT_MISSING
    assert "recipes/corpus/" in capsys.readouterr().err
    assert main(["corpus", "stats", "--corpus", "nothing"]) == EXIT_RECIPE
    assert "there is no run nothing" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_and_its_corpus(tmp_path: Path) -> None:
    """A recipe is run, run again (reused), and looked into by the recipe's name and as the latest."""
    record = (
        "<PubmedArticle><MedlineCitation><PMID>{n}</PMID><Article><ArticleTitle>On asthma {n}</ArticleTitle>"
        "<Abstract><AbstractText>It is.</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"
    )
    text = "".join(record.format(n=n) for n in range(1, 31))
    path = tmp_path / "a.xml.gz"
    path.write_bytes(gzip.compress(f"<PubmedArticleSet>{text}</PubmedArticleSet>".encode()))
    query = "pubmed: {query: asthma, size: 12, standin: {url: a.xml.gz}}"
    recipe = f"kind: corpus\nname: small\n{query}\njsonl: true\n"
    (tmp_path / "small.yaml").write_text(recipe)
    env = {**os.environ, "RESIDENCY_RUNS": str(tmp_path / "runs"), "RESIDENCY_CACHE": str(tmp_path / "cache")}

    def launch(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "launch.py", *words],
            cwd=PROJECT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == EXIT_DONE, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert "stand in for it" in launch(str(tmp_path / "small.yaml"), "--plain")
    assert "reused" in launch(str(tmp_path / "small.yaml"), "--plain")
    assert "12 records in" in launch("corpus", "stats", "--corpus", "small")
    assert "On asthma 30" in launch("corpus", "show", "30")


@pytest.mark.slow
def test_the_shipped_recipes_run_small_on_real_records(tmp_path: Path) -> None:
    env = {
        **{k: v for k, v in os.environ.items() if k != "RESIDENCY_MIRROR"},
        "RESIDENCY_RUNS": str(tmp_path),
    }
    for name, records, passages in (("pubmed_query", 35, 47), ("pubmed_baseline", 33_272, 49_254)):
        done = subprocess.run(
            [sys.executable, "launch.py", f"recipes/corpus/{name}.yaml", "--profile", "smoke", "--plain"],
            cwd=PROJECT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == EXIT_DONE, done.stdout + done.stderr
        outputs = tmp_path / name.replace("_", "-") / "latest" / "stages" / "corpus" / "outputs"
        report = json.loads((outputs / "report.json").read_text())
        assert (report["records"], report["passages"]) == (records, passages)
        assert report["read"] == report["kept"] + sum(drop["n"] for drop in report["dropped"])
