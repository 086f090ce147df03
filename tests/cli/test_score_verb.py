"""`launch.py score`: what a person sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.cli.main import main


def write(path: Path, value: Any) -> str:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return str(path)


@pytest.fixture
def gold(tmp_path: Path) -> str:
    rows = [
        {"id": "1", "type": "yesno", "exact_answer": "yes", "documents": ["http://x/1"]},
        {"id": "2", "type": "factoid", "exact_answer": [["BRCA1"]], "documents": ["http://x/2"]},
    ]
    return write(tmp_path / "gold.json", {"questions": rows})


def test_bioasq(reference_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = reference_dir / "bioasq"
    files = [str(folder / "12B1_golden.json.gz"), str(folder / "12B1_system_perturbed.json.gz")]
    assert main(["score", "bioasq", *files, "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    official = json.loads((folder / "official_scores.json").read_text(encoding="utf-8"))["batches"]["12B1"]
    for phase in ("phaseA", "phaseB"):
        values = {row["metric"]: row["value"] for row in said[phase]["scores"]}
        assert values == pytest.approx(official[phase], abs=1e-9, rel=0)
    assert len(said["phaseA"]["questions"]) == 85
    assert len(said["phaseB"]["questions"]) == 67


def test_text(gold: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": "1", "exact_answer": "perhaps"}, {"id": "9", "exact_answer": "no"}]
    system = write(tmp_path / "system.json", {"questions": rows})
    assert main(["score", "bioasq", gold, system]) == 0
    out = capsys.readouterr().out
    assert out.startswith("phase B: system.json against gold.json\n")
    assert "yesno_accuracy            0.0000  95 % 0.0000 to 0.7935  n=1\n" in out
    assert "list_f1                   0.0000  n=0\n" in out
    assert "phase A" not in out
    assert "1 × system: neither yes nor no; scored 0: 1\n" in out
    assert "1 × system: no answer to a gold question; scored 0: 2\n" in out


def test_a_phase_can_be_chosen(gold: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "bioasq", gold, gold, "--phase", "a"]) == 0
    out = capsys.readouterr().out
    assert "documents_map        1.0000" in out
    assert "yesno" not in out


@pytest.mark.parametrize(
    ("system", "more", "code", "said"),
    [
        ("{", [], 2, "is not JSON that can be read"),
        ("[]", [], 2, "no question of gold.json is in system.json"),
        ('{"a": 1}', [], 2, "it has no list of questions"),
        (None, [], 3, "there is no file"),
        ('{"questions": [{"id": "1"}]}', ["--edition", "4"], 2, "there is no edition 4"),
    ],
)
def test_mistakes(
    gold: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    system: str | None,
    more: list[str],
    code: int,
    said: str,
) -> None:
    path = tmp_path / "system.json"
    if system is not None:
        write(path, system)
    assert main(["score", "bioasq", gold, str(path), *more]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown


def test_pubmedqa(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth = write(tmp_path / "truth.json", {"1": "yes", "2": "no"})
    said = write(tmp_path / "said.json", {"1": "yes", "2": "maybe"})
    assert main(["score", "pubmedqa", truth, said]) == 0
    out = capsys.readouterr().out
    assert "accuracy         0.5000" in out
    assert "recall_no        0.0000" in out
    assert main(["score", "pubmedqa", truth, said, "--phase", "a"]) == 2
    assert "BioASQ's" in capsys.readouterr().err


def test_citations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": "a", "output": "See PMID: 7.", "prompt": "Evidence: PMID 7 and PMID 8"},
        {"id": "b", "output": "See PMID: 99.", "prompt": "Evidence: PMID 7"},
        {"id": "c", "output": "No idea.", "prompt": "?"},
    ]
    samples = write(tmp_path / "samples.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    known = write(tmp_path / "pmids.txt", "7\n8\n")
    assert main(["score", "citations", known, samples, "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    values = {row["metric"]: (row["value"], row["n"]) for row in said["scores"]}
    assert values["cites"] == (pytest.approx(2 / 3), 3)
    assert values["pmids_exist"] == (0.5, 2)
    assert values["pmids_retrieved"] == (0.5, 2)
    assert main(["score", "citations", str(tmp_path / "none"), samples]) == 3
    write(tmp_path / "samples.jsonl", "{")
    assert main(["score", "citations", known, samples]) == 2


def test_citations_in_a_corpus_and_in_an_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from residency.pubmed.corpus import write_corpus
    from residency.retrieval.boolean.build import build

    rows = [{"pmid": n, "title": "Asthma", "abstract": ""} for n in (7, 8)]
    write_corpus(iter(rows), tmp_path / "corpus")
    build(rows, tmp_path / "index")
    samples = write(tmp_path / "samples.jsonl", json.dumps({"id": "a", "output": "PMID: 7; PMID: 77777777"}))
    for known in ("corpus", "index"):
        assert main(["score", "citations", str(tmp_path / known), samples]) == 0
        out = capsys.readouterr().out
        assert "pmids_exist  0.5000" in out
        assert "a PMID that does not exist: a: 77777777" in out
