"""The index on disk: what goes in, what stands in for what, damage, many readers."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.pubmed.corpus import open_corpus, write_corpus
from residency.pubmed.reader import records
from residency.retrieval.boolean.build import build
from residency.retrieval.boolean.documents import COLUMNS, author, document, journals
from residency.retrieval.boolean.index import as_regex
from residency.retrieval.boolean.local import LocalSearch


def row(pmid: int, title: str, **more: Any) -> dict[str, Any]:
    return {"pmid": pmid, "title": title, "abstract": "", **more}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build([row(n, f"word{n % 3} common") for n in range(1, 40)], tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Smith JA", "smith ja"),
        ("Smith J-P", "smith jp"),
        ("O'Brien J.A.", "o brien ja"),
        ("Smith, John A.", "smith ja"),
        ("Smith, JA", "smith ja"),
        ("J A Smith", "smith ja"),
        ("van der Berg K", "van der berg k"),
        ("Müller Ü", "muller u"),
        ("Jones B Jr", "jones b jr"),
        ("COVID-19 Study Group", "covid 19 study group"),
        ("Madonna", "madonna"),
        ("", ""),
    ],
)
def test_authors(name: str, key: str) -> None:
    assert author(name) == key


def test_journals_have_several_names() -> None:
    names = journals("The Lancet (London, England)", "Lancet")
    assert {"lancet", "the lancet", "the lancet london england"} <= names


def test_a_row_needs_a_pmid(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="without a PMID"):
        build([{"title": "x"}], tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_nothing_to_index(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no records"):
        build([], tmp_path / "index")
    assert list(tmp_path.iterdir()) == []


def test_the_last_of_a_repeated_pmid_counts_and_deletions_do_not(tmp_path: Path) -> None:
    rows = [
        row(5, "old words", authors=["Old A"]),
        row(9, "other"),
        row(5, "new text", authors=["New B"]),
        {"pmid": 7, "deleted": True},
        {"pmid": "8", "book": True},
        row(2, "first"),
    ]
    manifest = build(rows, tmp_path / "index")
    assert (manifest["count"], manifest["rows"], manifest["repeated_pmids"]) == (3, 4, 1)
    search = LocalSearch.open(tmp_path / "index")
    assert search.search("all[sb]").pmids == ("9", "5", "2")
    assert search.search("old[ti] OR old a[au]").count == 0
    assert search.search('"new text"[ti] AND new b[au]').pmids == ("5",)
    assert search.search("1:5[uid]").pmids == ("5", "2")


def test_the_order_of_rows_is_nothing_but_the_hash(tmp_path: Path) -> None:
    rows = [row(n, f"word{n % 5} and more", date=f"20{n % 20:02d}") for n in range(1, 60)]
    build(rows, tmp_path / "a")
    build(rows[::-1], tmp_path / "b")
    a, b = LocalSearch.open(tmp_path / "a"), LocalSearch.open(tmp_path / "b")
    for query in ("word1[ti]", '"word2 and"', "2005:2010[dp] NOT word3[ti]"):
        assert a.search(query) == b.search(query)


def test_records_of_the_reader_are_rows_too(reference: Path, tmp_path: Path) -> None:
    path = reference / "pubmed_xml/pubmed21n1298_slice500.xml.gz"
    manifest = build(records(path, names=True), tmp_path / "index")
    assert manifest["count"] == 500
    search = LocalSearch.open(tmp_path / "index")
    record = next(r for r in records(path, names=True) if r.get("author_names") and r["abstract"])
    found = search.search(f'"{record["author_names"][0]}"[au] AND {record["pmid"]}[uid]')
    assert found.pmids == (record["pmid"],)


def test_a_corpus_folder(reference: Path, tmp_path: Path) -> None:
    from residency.pubmed.corpus import row_of

    path = reference / "pubmed_xml/pubmed21n1298_slice500.xml.gz"
    rows = {int(r["pmid"]): row_of(r) for r in records(path, names=True) if not r.get("deleted")}
    write_corpus((rows[pmid] for pmid in sorted(rows)), tmp_path / "corpus")
    seen: list[int] = []
    build(open_corpus(tmp_path / "corpus").rows(COLUMNS), tmp_path / "index", progress=seen.append)
    search = LocalSearch.open(tmp_path / "index", verify=True)
    assert search.search("all[sb]", retmax=0).count == len(rows) == seen[-1]
    wanted = {str(pmid) for pmid, r in rows.items() if "spa" in r["languages"]}
    assert set(search.search("spanish[la]").pmids) == wanted != set()


def test_a_row_may_lack_everything_but_its_pmid(tmp_path: Path) -> None:
    row = {"pmid": "3", "title": None, "mesh": None, "authors": None}
    assert document(row).pmid == 3
    build([row], tmp_path / "index")
    search = LocalSearch.open(tmp_path / "index", verify=True)
    assert search.search("all[sb]").pmids == search.search("3[uid]").pmids == ("3",)
    for query in (
        "asthma",
        '"a b"[tiab:~2]',
        "asth*",
        "smith j[au]",
        "x[mh]",
        '"foo bar*"[ti]',
        "hasabstract",
    ):
        assert search.search(query).count == 0


def test_an_index_is_replaced_while_others_read_it(folder: Path) -> None:
    old = LocalSearch.open(folder)
    build([row(1, "quite new")], folder)
    assert old.search("common[ti]", retmax=0).count == 39
    assert LocalSearch.open(folder).search("new[ti]").pmids == ("1",)
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


def test_what_is_no_index_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RecipeInvalid, match="no index of this kind"):
        build([row(1, "x")], tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_build_that_fails_leaves_the_old_index(folder: Path) -> None:
    def rows() -> Any:
        yield row(1, "x")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        build(rows(), folder)
    assert LocalSearch.open(folder, verify=True).search("common[ti]", retmax=0).count == 39
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


def test_damage_is_said(folder: Path) -> None:
    def broken(name: str, how: Any) -> str:
        copy = folder.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        how(copy / name)
        with pytest.raises(Missing) as caught:
            LocalSearch.open(copy)
        assert "launch.py pubmed index" in (caught.value.hint or "")
        return caught.value.message

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:-7])

    def changed(**to: Any) -> Any:
        return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | to))

    assert "words.places.npy has" in broken("words.places.npy", cut)
    assert "names.blob.npy is not there" in broken("names.blob.npy", Path.unlink)
    assert "has no manifest.json" in broken("manifest.json", Path.unlink)
    assert "cannot be read" in broken("manifest.json", cut)
    assert "form 99" in broken("manifest.json", changed(format=99))
    assert "something else" in broken("manifest.json", changed(kind="vectors"))
    assert "does not list" in broken("manifest.json", changed(files=None))
    with pytest.raises(Missing, match="no search index"):
        LocalSearch.open(folder.parent / "nowhere")


def test_bytes_that_were_changed_are_found_when_asked_for(folder: Path) -> None:
    path = folder / "words.docs.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Missing, match="not what was written"):
        LocalSearch.open(folder, verify=True)


def test_a_broken_header_is_an_error(folder: Path) -> None:
    path = folder / "dates.npy"
    path.write_bytes(b"\0" * path.stat().st_size)
    with pytest.raises(Missing, match="cannot be read"):
        LocalSearch.open(folder)


READER = """
import sys
from residency.retrieval.boolean.local import LocalSearch
search = LocalSearch.open(sys.argv[1])
for _ in range(200):
    assert search.search("word1[ti] AND comm*[ti]").count == 13
print(",".join(search.search("word1[ti]", retmax=5).pmids))
"""


def test_many_processes_read_one_index(folder: Path) -> None:
    for path in (*folder.iterdir(), folder):
        path.chmod(path.stat().st_mode & ~0o222)
    command = [sys.executable, "-c", READER, str(folder)]
    cwd = Path(__file__).resolve().parents[3]
    children = [subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {child.communicate(timeout=120)[0] for child in children}
    folder.chmod(0o755)
    assert all(child.returncode == 0 for child in children)
    assert said == {"37,34,31,28,25\n"}


def test_threads_share_one_search(folder: Path) -> None:
    search = LocalSearch.open(folder)
    wrong: list[Any] = []

    def ask(number: int) -> None:
        for turn in range(100):
            wanted = 13
            if search.search(f"word{(number + turn) % 3}[ti]", retmax=3).count != wanted:
                wrong.append((number, turn))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_search_passes_to_another_process(folder: Path) -> None:
    search = pickle.loads(pickle.dumps(LocalSearch.open(folder, strict=True)))
    assert search.strict
    assert search.search("word1[ti]", retmax=0).count == 13


@given(st.text("ab*", max_size=12), st.text("ab", max_size=12))
def test_stars_stand_for_any_letters(pattern: str, word: str) -> None:
    def stands(pattern: str, word: str) -> bool:
        if not pattern:
            return not word
        if pattern[0] == "*":
            return any(stands(pattern[1:], word[at:]) for at in range(len(word) + 1))
        return word[:1] == pattern[0] and stands(pattern[1:], word[1:])

    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    assert (as_regex(pattern).fullmatch(word) is not None) == stands(pattern, word)
