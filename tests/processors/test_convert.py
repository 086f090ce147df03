from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors import convert
from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.processing import Report
from residency.rows import read as readers
from residency.rows.formats import BadRow, to_format

ROWS = [{"id": "1", "text": "one"}, {"id": "2", "text": "zwei, “drei”\nvier"}]


def read(path: Path, report: Report | None = None, **options: Any) -> list[dict[str, Any]]:
    return list(convert.read(iter([{"path": str(path)}]), report=report, **options))


def write(folder: Path, name: str) -> Path:
    import csv
    import io

    path = folder / name
    kind = name.removesuffix(".gz").rsplit(".", 1)[-1]
    if kind == "jsonl":
        text = "\n".join(json.dumps(row) for row in ROWS) + "\n\n"
    elif kind == "json":
        text = json.dumps(ROWS, indent=1)
    else:
        out = io.StringIO()
        writer = csv.DictWriter(out, ["id", "text"], delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(ROWS)
        text = out.getvalue()
    data = ("\ufeff" + text if kind == "csv" else text).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.mark.parametrize(
    "name", ["a.jsonl", "a.json", "a.csv", "a.tsv", "a.jsonl.gz", "a.json.gz", "a.csv.gz"]
)
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    report = Report()
    assert read(write(tmp_path, name), report) == ROWS
    assert (report.read, report.kept, report.dropped) == (2, 2, {})


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == ROWS
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no parquet PAR1")
    with pytest.raises(StageFailed, match="not sound parquet"):
        read(tmp_path / "b.parquet")


def test_an_object_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": {"x": 1}, "b": {"x": 2}, "c": 3}')
    report = Report()
    assert read(path, report) == [{"key": "a", "x": 1}, {"key": "b", "x": 2}]
    assert report.examples == {"not an object": ["a.json: c"]}


def test_bad_rows_are_counted_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n\nnot json\n[1]\n{"a": 2}\n' + "[" * 100_000 + "\n")
    report = Report()
    assert read(path, report) == [{"a": 1}, {"a": 2}]
    assert report.read == report.kept + sum(report.dropped.values()) == 5
    assert report.examples == {"not JSON": ["a.jsonl:3", "a.jsonl:6"], "not an object": ["a.jsonl:4"]}
    table = tmp_path / "a.csv"
    table.write_text('a,b\n1,2\n1,2,3\n"x\ny",4\n5\n')
    report = Report()
    assert read(table, report) == [{"a": "1", "b": "2"}, {"a": "x\ny", "b": "4"}]
    assert report.examples == {"another number of fields than the first line": ["a.csv:3", "a.csv:6"]}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.json", b'[{"a": 1}, {"a": ', "row 2"),
        ("a.json", b'[{"a": 1}, {"b" 2}]', "row 2"),
        ("a.json", b'[{"a": 1} {"b": 2}]', "row 2"),
        ("a.json", b'[{"a": 1},, {"b": 2}]', "row 2"),
        ("a.json", b'[{"a": 1},]', "row 2"),
        ("a.json", b'{"a": 1}\n{"a": 2}\n', "JSONL"),
        ("a.json", b"3", "neither"),
        ("a.jsonl", b'{"a": "\xff"}', "not UTF-8"),
        ("a.csv", b"a,a\n1,2\n", "each once"),
        ("a.csv", b"", "each once"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 1000, mtime=0)[:-20], "cut short"),
        ("a.docx", b"x", "known:"),
    ],
)
def test_a_file_that_cannot_be_read(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(StageFailed) as error:
        read(tmp_path / name)
    assert said in f"{error.value.message} {error.value.hint}"
    with pytest.raises(Missing):
        read(tmp_path / f"nowhere-{name}") if name != "a.docx" else read(tmp_path / "nowhere.csv")


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.text(max_size=5), st.text(max_size=30) | st.floats(allow_nan=False) | st.none())
    ),
    chunk=st.integers(1, 50),
    indent=st.sampled_from([None, 0, 2]),
)
def test_arrays_stream_whatever_the_pieces(
    rows: list[dict[str, Any]], chunk: int, indent: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("a") / "a.json"
    path.write_text(json.dumps(rows, indent=indent))
    before, readers.CHUNK = readers.CHUNK, chunk
    try:
        assert read(path) == rows
    finally:
        readers.CHUNK = before


ALPACA = {"instruction": "Say", "input": "this", "output": "done", "system": "Be brief.", "id": 7}
SHAREGPT = {
    "conversations": [
        {"from": "system", "value": "Be brief."},
        {"from": "human", "value": "Say\nthis"},
        {"from": "gpt", "value": "done"},
    ],
    "tools": "",
    "id": 7,
}
OPENAI = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say\nthis"},
        {"role": "assistant", "content": "done"},
    ],
    "tools": "",
    "id": 7,
}


def test_formats_into_each_other() -> None:
    joined = {**ALPACA, "instruction": "Say\nthis", "input": ""}
    for start in (ALPACA, SHAREGPT, OPENAI):
        assert list(convert.to_sharegpt(iter([start]))) == [SHAREGPT]
        assert list(convert.to_openai(iter([start]))) == [OPENAI]
        assert list(convert.to_alpaca(iter([start]))) == [ALPACA if start is ALPACA else joined]


def test_tools_and_several_turns() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "find"}]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "found"},
            {"role": "assistant", "content": "here"},
        ],
        "tools": [{"name": "search"}],
    }
    made = to_format(row, "sharegpt")
    assert [t["from"] for t in made["conversations"]] == ["human", "function_call", "observation", "gpt"]
    assert json.loads(made["conversations"][1]["value"]) == [{"name": "search", "arguments": "{}"}]
    assert json.loads(made["tools"]) == [{"name": "search"}]
    assert [m["role"] for m in to_format(made, "openai")["messages"]] == [
        "user",
        "function",
        "tool",
        "assistant",
    ]
    with pytest.raises(BadRow, match="more than one turn"):
        to_format(row, "alpaca")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({}, "neither instruction"),
        ({"instruction": 3, "output": "x"}, "neither instruction"),
        ({"instruction": "a", "output": ""}, "an empty turn"),
        ({"instruction": "", "output": "x"}, "an empty turn"),
        ({"instruction": "a", "output": 4}, "output is not text"),
        ({"instruction": "a", "output": "b", "history": ["c"]}, "history"),
        ({"conversations": []}, "not the assistant's"),
        ({"conversations": ["x"]}, "not an object"),
        ({"conversations": [{"from": "alien", "value": "x"}]}, "unknown role: alien"),
        ({"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]}, "alternate"),
        ({"messages": [{"role": "user", "content": "x"}]}, "not the assistant's"),
        ({"messages": [{"role": "user", "content": None}]}, "without text"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "other than text"),
    ],
)
def test_rows_that_are_no_conversation(row: dict[str, Any], said: str) -> None:
    report = Report()
    assert list(convert.to_openai(iter([row]), report=report)) == []
    assert said in next(iter(report.dropped))
    assert (report.read, report.kept) == (1, 0)


def test_other_formats() -> None:
    pair = {"instruction": "a", "chosen": "good", "rejected": "bad"}
    assert to_format(pair, "ranking") == {**pair, "input": "", "system": ""}
    with pytest.raises(BadRow, match="no rejected"):
        to_format({"instruction": "a", "chosen": "good"}, "ranking")
    assert to_format({**ALPACA, "kto_tag": False}, "kto")["kto_tag"] is False
    with pytest.raises(BadRow, match="kto_tag"):
        to_format({**ALPACA, "kto_tag": "yes"}, "kto")
    assert to_format({"text": "x", "id": 1}, "text") == {"text": "x", "id": 1}
    assert to_format({"anything": 1}, "rows") == {"anything": 1}


def test_select_rename_put() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 3}]
    report = Report()
    assert list(convert.select(iter(rows), fields=["b", "a"], report=report)) == [{"b": 2, "a": 1}]
    assert report.examples == {"no field b": ["row 2"]}
    assert list(convert.rename(iter(rows), fields={"b": "c"})) == [{"a": 1, "c": 2}]
    assert list(convert.put(iter(rows), fields={"s": "x"}))[1] == {"a": 3, "s": "x"}


def test_dedupe() -> None:
    rows = [{"q": "Is it so?", "n": 1}, {"q": "  IS IT\nSO", "n": 2}, {"q": "Is it not so?", "n": 3}]
    report = Report()
    assert [r["n"] for r in convert.dedupe(iter(rows), by="q", report=report)] == [1, 3]
    assert report.dropped == {"seen before": 1}
    assert len(list(convert.dedupe(iter(rows), by=["q"], normalise=False))) == 3
    assert len(list(convert.dedupe(iter([*rows, dict(rows[0])])))) == 3
    assert len(list(convert.dedupe(iter([{"q": "α β"}, {"q": "Α—Β"}])))) == 1


PEOPLE = [
    {"name": "A", "age": 10, "tags": ["x"], "at": {"place": "here"}},
    {"name": "B", "age": "20", "tags": [], "at": {"place": ""}},
    {"name": "C c c", "age": None},
]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ({"name": "A"}, ["A"]),
        ({"name": {"not": "A"}}, ["B", "C c c"]),
        ({"name": {"in": ["A", "B"]}}, ["A", "B"]),
        ({"name": {"not_in": ["A", "B"]}}, ["C c c"]),
        ({"age": {"at_least": 10, "at_most": 15}}, ["A"]),
        ({"age": {"at_least": 15}}, ["B"]),
        ({"age": {"missing": True}}, ["C c c"]),
        ({"tags": {"missing": True}}, ["B", "C c c"]),
        ({"tags": {"contains": "x"}}, ["A"]),
        ({"name": {"contains": "c"}}, ["C c c"]),
        ({"name": {"matches": "^[AB]$"}}, ["A", "B"]),
        ({"at.place": "here"}, ["A"]),
        ({"at.place": {"missing": False}}, ["A"]),
        ({"name": {"words_at_least": 2}}, ["C c c"]),
        ({"name": {"words_at_most": 1}, "age": {"at_most": 12}}, ["A"]),
        ({}, ["A", "B", "C c c"]),
    ],
)
def test_filter(where: dict[str, Any], names: list[str]) -> None:
    report = Report()
    assert [r["name"] for r in convert.filter(iter(PEOPLE), where=where, report=report)] == names
    assert report.read == 3 == report.kept + sum(report.dropped.values())


@pytest.mark.parametrize("where", [{"a": {"above": 3}}, {"a": {"in": "x"}}, {"a": {"matches": "("}}])
def test_filter_says_what_it_does_not_know(where: dict[str, Any]) -> None:
    with pytest.raises(RecipeInvalid, match=r"processors\.convert\.filter"):
        list(convert.filter(iter([]), where=where))


def numbered(n: int) -> list[dict[str, Any]]:
    return [{"pmid": str(i // 2), "n": i, "label": "yes" if i % 3 else "no"} for i in range(n)]


def test_a_sample_does_not_depend_on_the_order() -> None:
    rows = numbered(500)
    shuffled = rows[:]
    random.Random(1).shuffle(shuffled)
    first = list(convert.sample(iter(rows), n=40, seed=3))
    second = list(convert.sample(iter(shuffled), n=40, seed=3))
    assert len(first) == 40
    assert {r["n"] for r in first} == {r["n"] for r in second}
    assert [r["n"] for r in first] == sorted(r["n"] for r in first)
    assert {r["n"] for r in first} != {r["n"] for r in convert.sample(iter(rows), n=40, seed=4)}
    assert len(list(convert.sample(iter(rows), n=1000))) == 500
    assert list(convert.sample(iter(rows), n=0)) == []


def test_split_marks_the_part() -> None:
    report = Report()
    rows = list(
        convert.split(iter(numbered(300)), parts={"train": 200, "test": 50}, by="pmid", report=report)
    )
    assert Counter(r["part"] for r in rows) == {"train": 200, "test": 50}
    own = {r["pmid"]: set() for r in rows}
    for row in rows:
        own[row["pmid"]].add(row["part"])
    assert all(len(parts) == 1 for parts in own.values())
    assert report.dropped == {"in no part": 50}
    with pytest.raises(RecipeInvalid, match="train"):
        list(convert.split(iter([]), parts={"train": 1.5}))
