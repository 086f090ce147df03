"""What processors say of themselves, which `check` believes, is what they do."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import processors
from processors import convert, pubmed, pubmedqa, study_questions
from residency.engines.processors.fields import _after
from residency.engines.processors.spec import Step
from residency.processing import Row
from residency.recipe.dotted_child import _values
from residency.rows.formats import FORMATS, BadRow, fields_of, to_format

PUBMED = """<PubmedArticleSet><PubmedArticle><MedlineCitation Status="MEDLINE" Owner="NLM">
<PMID Version="1">1</PMID><Article><ArticleTitle>A</ArticleTitle></Article></MedlineCitation></PubmedArticle>
<DeleteCitation><PMID Version="1">2</PMID></DeleteCitation></PubmedArticleSet>"""


def functions() -> list[Any]:
    found = []
    for module in pkgutil.iter_modules(processors.__path__):
        loaded = importlib.import_module(f"processors.{module.name}")
        found += [
            value
            for name, value in vars(loaded).items()
            if callable(value)
            and getattr(value, "__module__", "") == loaded.__name__
            and name[0] != "_"
            and getattr(value, "__annotations__", {}).get("rows") == "Iterator[Row]"
        ]
    return found


@pytest.mark.parametrize("function", functions(), ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_every_argument_says_its_values(function: Any) -> None:
    own = set(function.__kwdefaults__ or {}) - {"report"}
    assert own <= set(_values(function)), "an argument whose values the check cannot know"


def rows_of(function: Any, rows: list[Row], **args: Any) -> Iterator[Row]:
    return iter(function(iter(rows), **args))


ROW = {"pmid": "1", "title": "a", "label": "yes"}


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (convert.select, {"fields": ["pmid", "title"]}),
        (convert.rename, {"fields": {"pmid": "id"}}),
        (convert.put, {"fields": {"origin": "pubmed", "part": 1}}),
        (convert.dedupe, {"by": "pmid"}),
        (convert.filter, {"where": {"pmid": {"missing": False}}}),
        (convert.sample, {"n": 3}),
        (convert.split, {"parts": {"train": "rest"}}),
        (convert.split, {"parts": {"train": "rest"}, "into": "half"}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_rows_have_no_other_fields_than_said(function: Any, args: dict[str, Any]) -> None:
    (made,) = rows_of(function, [ROW], **args)
    assert set(made) <= (_after(Step("f", args), function.row_fields, set(ROW)) or set())


def test_readers_and_makers_give_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(PUBMED)
    records = list(rows_of(pubmed.read, [{"path": str(tmp_path / "a.xml")}], deleted="keep"))
    assert len(records) == 2
    assert set().union(*records) == set(pubmed.read.row_fields["names"])
    subjects = [("1", "Humans"), ("2", "Animals")]
    indexed = [
        {
            **records[0],
            "pmid": pmid,
            "abstract": "word " * 30,
            "mesh": [{"name": name}],
        }
        for pmid, name in subjects
    ]
    for row in rows_of(study_questions.make, indexed):
        assert set(row) == set(study_questions.make.row_fields["names"])
    (tmp_path / "q.json").write_text('{"9": {"QUESTION": "q?", "final_decision": "yes"}}')
    (tmp_path / "t.json").write_text('{"9": "yes"}')
    files = [{"path": str(tmp_path / name)} for name in ("q.json", "t.json")]
    (row,) = rows_of(pubmedqa.read, files, part="test")
    assert set(row) == set(pubmedqa.read.row_fields["names"])


def test_conditions_of_the_schema_are_those_of_the_filter() -> None:
    schema = _values(convert.filter)["where"]["anyOf"][0]
    assert set(schema["additionalProperties"]["then"]["properties"]) == set(convert._CONDITIONS)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "row",
    [
        {"instruction": "a", "input": "b", "output": "c", "pmid": "1"},
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "id": 1},
        {"instruction": "a", "chosen": "b", "rejected": "c", "label": 1},
        {"instruction": "a", "output": "b", "kto_tag": True},
        {"text": "a", "pmid": "1"},
    ],
)
def test_fields_of_a_format(format: str, row: Row) -> None:
    try:
        made = to_format(row, format)
    except BadRow:
        return
    assert set(made) <= fields_of(format, row)
