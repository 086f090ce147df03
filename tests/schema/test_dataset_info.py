"""dataset_info.json: its keys, its files, and the columns that the files have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.recipe import dataset_info
from residency.recipe.data_rows import BadRow, first_rows
from residency.recipe.diagnostics import Diagnostic, Diagnostics
from residency.recipe.json_reader import parse
from residency.recipe.nodes import at, key_span, plain

ROW = {"instruction": "a", "input": "", "output": "b"}
CHAT = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
OPENAI = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
OPENAI_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}


def check(
    folder: Path, entry: Any, rows: list[Any] | str | None = None, file: str = "d.jsonl"
) -> list[Diagnostic]:
    if rows is not None:
        text = rows if isinstance(rows, str) else "".join(json.dumps(row) + "\n" for row in rows)
        (folder / file).write_text(text)
    path = folder / "dataset_info.json"
    path.write_text(json.dumps({"mine": entry}, indent=1))
    found = Diagnostics()
    registry = dataset_info.read(path, found, cwd=folder)
    assert registry is not None
    dataset_info.check_entry(registry, "mine", found, cwd=folder)
    return list(found)


GOOD: list[tuple[Any, list[Any]]] = [
    ({"file_name": "d.jsonl"}, [ROW]),
    ({"file_name": "d.jsonl", "columns": {"prompt": "q", "response": "a"}}, [{"q": "x", "a": "y"}]),
    ({"file_name": "d.jsonl", "columns": {"prompt": "text"}}, [{"text": "x"}]),
    ({"file_name": "d.jsonl", "formatting": "sharegpt"}, [CHAT]),
    (
        {
            "file_name": "d.jsonl",
            "formatting": "openai",
            "columns": {"messages": "messages"},
            "tags": OPENAI_TAGS,
        },
        [OPENAI],
    ),
    (
        {"file_name": "d.jsonl", "ranking": True, "columns": {"prompt": "q", "chosen": "c", "rejected": "r"}},
        [{"q": "x", "c": "y", "r": "z"}],
    ),
    ({"hf_hub_url": "a/b", "ms_hub_url": "a/b"}, []),
    ({"script_url": "folder"}, []),
]


@pytest.mark.parametrize(("entry", "rows"), GOOD)
def test_good_entry(tmp_path: Path, entry: Any, rows: list[Any]) -> None:
    assert check(tmp_path, entry, rows) == []


# entry, rows, code, line in dataset_info.json (None: in another file), words
BAD: list[tuple[Any, list[Any] | str, str, int | None, str]] = [
    ({"file_name": "d.jsonl", "colums": {}}, [ROW], "unknown-key", 4, "did you mean `columns`?"),
    ({"file_name": "d.jsonl", "formating": "alpaca"}, [ROW], "unknown-key", 4, "did you mean `formatting`?"),
    ({"file_name": "d.jsonl", "columns": {"promt": "q"}}, [ROW], "unknown-key", 5, "did you mean `prompt`?"),
    ({"file_name": "d.jsonl", "columns": {"instruction": "q"}}, [ROW], "unknown-key", 5, "`prompt`"),
    ({"file_name": "d.jsonl", "prompt": "q"}, [ROW], "unknown-key", 4, "under `columns:`"),
    ({"file_name": "d.jsonl", "tags": {"role": "x"}}, [ROW], "unknown-key", 5, "did you mean `role_tag`?"),
    ({"file_name": "d.jsonl", "formatting": "chatml"}, [ROW], "not-a-choice", 4, "did you mean `openai`?"),
    ({"file_name": "d.jsonl", "ranking": "yes"}, [ROW], "wrong-type", 4, "write `ranking: true`"),
    ({"formatting": "alpaca"}, [], "missing-key", 2, "file_name"),
    ({"file_name": "d.jsonl", "hf_hub_url": "a/b"}, [ROW], "conflicting-keys", 3, "`hf_hub_url` is used"),
    ({"file_name": "e.jsonl"}, [ROW], "missing-file", 3, "did you mean `d.jsonl`?"),
    (
        {"file_name": "d.jsonl", "ranking": True, "columns": {"chosen": "c"}},
        [ROW],
        "missing-key",
        4,
        "`rejected`",
    ),
    (
        {"file_name": "d.jsonl"},
        [{"question": "a", "output": "b", "input": ""}],
        "column-missing",
        2,
        "question",
    ),
    (
        {"file_name": "d.jsonl", "columns": {"prompt": "qestion"}},
        [{"question": "a"}],
        "column-missing",
        5,
        "did you mean `question`?",
    ),
    ({"file_name": "d.jsonl", "formatting": "sharegpt"}, [OPENAI], "column-missing", 2, "messages"),
    (
        {"file_name": "d.jsonl", "formatting": "openai", "columns": {"messages": "messages"}},
        [OPENAI],
        "wrong-tags",
        6,
        '"role_tag": "role"',
    ),
    (
        {"file_name": "d.jsonl", "formatting": "sharegpt", "tags": {"user_tag": "user"}},
        [CHAT],
        "wrong-tags",
        5,
        "role `human`",
    ),
    (
        {"file_name": "d.jsonl", "formatting": "sharegpt"},
        [{"conversations": "a"}],
        "bad-data",
        2,
        "list of messages",
    ),
    (
        {"file_name": "d.jsonl"},
        [{"instruction": "a", "input": None, "output": "b"}, {"instruction": "a", "input": "", "output": 5}],
        "bad-data",
        2,
        "`output` of d.jsonl is text in row 1, but a number in row 2",
    ),
    ({"file_name": "d.jsonl"}, '{"instruction": 1}\n{broken\n', "bad-data", None, "line 2"),
    ({"file_name": "d.jsonl"}, "[1, 2]", "bad-data", None, "a row must be an object"),
    ({"file_name": "d.jsonl"}, "", "bad-data", 2, "no rows"),
]


@pytest.mark.parametrize(("entry", "rows", "code", "line", "words"), BAD)
def test_bad_entry(tmp_path: Path, entry: Any, rows: Any, code: str, line: int | None, words: str) -> None:
    found = check(tmp_path, entry, rows)
    assert {d.code for d in found} == {code}
    if line is None:
        assert found[0].span.file == "d.jsonl"
    else:
        assert {(d.span.file, d.span.line) for d in found} == {("dataset_info.json", line)}
    assert any(words in f"{d.message} {d.hint}" for d in found)


def test_file_types(tmp_path: Path) -> None:
    assert check(tmp_path, {"file_name": "d.csv"}, "instruction,input,output\na,,b\n", "d.csv") == []
    (item,) = check(tmp_path, {"file_name": "d.csv"}, "instruction,output\na,b\n", "d.csv")
    assert item.code == "column-missing"
    (item,) = check(tmp_path, {"file_name": "d.xlsx"}, "x", "d.xlsx")
    assert (item.code, item.hint) == ("wrong-form", "data files end in arrow, csv, json, jsonl, parquet, txt")
    assert check(tmp_path, {"file_name": "d.json"}, json.dumps([ROW] * 3, indent=2), "d.json") == []
    folder = tmp_path / "folder"
    folder.mkdir()
    (item,) = check(tmp_path, {"file_name": "folder"})
    assert item.code == "missing-file"
    (folder / "a.jsonl").write_text(json.dumps(ROW))
    assert check(tmp_path, {"file_name": "folder"}) == []
    (folder / "b.csv").write_text("x")
    assert [d.code for d in check(tmp_path, {"file_name": "folder"})] == ["wrong-form"]


def test_parquet_columns(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"question": ["a"], "answer": ["b"]}), tmp_path / "d.parquet")
    rows = first_rows(tmp_path / "d.parquet")
    assert rows is not None
    assert rows.columns == ["question", "answer"]
    (tmp_path / "bad.parquet").write_text("x")
    with pytest.raises(BadRow, match="no Parquet file"):
        first_rows(tmp_path / "bad.parquet")


def test_a_large_file_is_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("w") as stream:
        stream.write("[")
        stream.write(",\n".join(json.dumps({"text": "x" * 100_000, "n": i}) for i in range(300)))
        stream.write("]")
    import tracemalloc

    tracemalloc.start()
    rows = first_rows(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows is not None
    assert len(rows.rows) == 20
    assert peak < 16_000_000 < path.stat().st_size


def test_find_names_what_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "dataset_info.json"
    path.write_text('{"alpaca_en": {"file_name": "x"}, "other": []}')
    found = Diagnostics()
    registry = dataset_info.read(path, found, cwd=tmp_path)
    assert registry is not None
    where = registry.tree.span
    assert dataset_info.find("alpaca_en", [registry], where, found) is not None
    assert dataset_info.find("alpaca_enn", [registry], where, found) is None
    assert dataset_info.find("other", [registry], where, found) is None
    assert [(d.code, d.hint) for d in found] == [
        ("unknown-dataset", "did you mean `alpaca_en`?"),
        ("wrong-type", None),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column", "words"),
    [
        ('{"a": 1\n "b": 2}', 2, 2, "comma is missing"),
        ('{"a": 1,\n}', 2, 1, "no comma after it"),
        ("{'a': 1}", 1, 2, "double quotes"),
        ('{"a": 1} // x', 1, 10, "no comments"),
        ("", 1, 1, ""),
    ],
)
def test_broken_json(text: str, line: int, column: int, words: str) -> None:
    found = Diagnostics()
    assert parse(text, "x.json", found) is None
    (item,) = found.items
    assert item.code == "bad-json"
    # Python 3.13 points at the comma itself.
    assert (item.span.line, item.span.column) in {(line, column), (1, 8)}
    assert words in (item.hint or "")


def test_places_in_json() -> None:
    text = '{\n  "a": [1, {"bé\\n": "x"}],\n  "c": -1.5e3, "a": null\n}'
    found = Diagnostics()
    tree = parse(text, "x.json", found)
    assert tree is not None
    assert plain(tree) == json.loads(text)
    assert [(d.code, d.span.line, d.span.column) for d in found] == [("duplicate-key", 3, 16)]
    tree = parse(text.replace(', "a": null', ""), "x.json", Diagnostics())
    assert tree is not None
    span = key_span(tree, ("a", 1, "bé\n"))
    assert span is not None
    assert (span.line, span.column, span.end_column) == (2, 13, 19)
    value = at(tree, ("c",))
    assert value is not None
    assert (value.span.line, value.span.column, value.span.end_column) == (3, 8, 14)
