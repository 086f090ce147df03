"""`launch.py pubmed`: what a person sees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from residency.cli.main import main
from residency.pubmed.corpus import write_corpus
from residency.retrieval.boolean.build import build


@pytest.fixture
def index(tmp_path: Path) -> str:
    rows = [
        {"pmid": n, "title": f"Asthma care {n}", "abstract": "", "date": f"20{n:02d}"} for n in range(1, 31)
    ]
    build(rows, tmp_path / "index")
    return str(tmp_path / "index")


def test_index_and_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"title": "Asthma", "abstract": "", "mesh": [{"name": "Asthma", "qualifiers": []}]}
    write_corpus(({"pmid": n, **row} for n in (1, 2)), tmp_path / "corpus")
    (tmp_path / "trees.txt").write_text("C08.127\tBronchial Diseases\nC08.127.108\tAsthma\n")
    made = ["pubmed", "index", str(tmp_path / "corpus"), "-o", str(tmp_path / "out/index")]
    assert main([*made, "--mesh", str(tmp_path / "trees.txt")]) == 0
    said = capsys.readouterr().out
    assert "2 records" in said
    assert "2 MeSH headings" in said
    assert main(["pubmed", "search", "bronchial diseases[mh]", "--index", str(tmp_path / "out/index")]) == 0
    assert capsys.readouterr().out == "2 records\n2\n1\n"
    assert main([*made, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["count"] == 2


def test_answers(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    search = ["pubmed", "search", "asthma[ti] NOT 30[uid]", "--index", index]
    assert main([*search, "--retmax", "2", "--sort", "date", "--translation"]) == 0
    out = capsys.readouterr().out
    assert out == '"asthma"[Title] NOT 30[UID]\n29 records, the first 2\n29\n28\n'
    assert main([*search, "--count"]) == 0
    assert capsys.readouterr().out == "29\n"
    assert main([*search, "--format", "json", "--retmax", "1", "--mindate", "2029"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["count"] == 1
    assert answer["pmids"] == ["29"]
    assert answer["warnings"] == []
    assert main(["pubmed", "search", "xyzzy[ti] OR asthma", "--index", index, "--count"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "30\n"
    assert 'warning: not found: "xyzzy"[Title]' in shown.err


def test_a_wrong_query_shows_its_place(index: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pubmed", "search", "asthma AND (copd[tiba])", "--index", index]) == 2
    assert capsys.readouterr().err == (
        "error: there is no search field [tiba]\n"
        "  asthma AND (copd[tiba])\n"
        "                  ^\n"
        "  help: did you mean [tiab]?\n"
    )
    assert main(["pubmed", "search", "(", "--index", index, "--format", "json"]) == 2
    assert json.loads(capsys.readouterr().out)["position"] == 0
    assert main(["pubmed", "search", "as*", "--index", index, "--strict"]) == 2
    assert "fewer than 4 letters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["search", "asthma"], 2, "add --index DIR, or --live"),
        (["search", "asthma", "--index", "nowhere"], 3, "is no search index"),
        (["search", "asthma", "--index", "INDEX", "--live"], 2, "add --index DIR, or --live"),
        (["search", "asthma", "--index", "INDEX", "--retmax", "-1"], 2, "0 or more"),
        (["search", "asthma", "--index", "INDEX", "--mindate", "x"], 2, "mindate"),
        (["index", "nowhere"], 2, "add -o DIR"),
        (["index", "nowhere", "-o", "x"], 3, "nowhere"),
        (["search", "asthma", "--indx", "x"], 2, "did you mean --index?"),
    ],
)
def test_mistakes(
    arguments: list[str], code: int, words: str, index: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pubmed", *(index if argument == "INDEX" else argument for argument in arguments)]) == code
    assert words in capsys.readouterr().err


def test_live_search_behind_a_mirror_fetches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESIDENCY_MIRROR", str(tmp_path))
    monkeypatch.setenv("RESIDENCY_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RESIDENCY_EUTILS_URL", raising=False)
    assert main(["pubmed", "search", "asthma", "--live"]) == 3
    assert "mirror" in capsys.readouterr().err
