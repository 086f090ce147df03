"""Fields that a `data` recipe names, against those that its rows can have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from residency.plan.check import check

READ = ["processors.pubmed.read"]
MAKE = [*READ, "processors.study_questions.make"]


def said(tmp_path: Path, **datasets: dict[str, Any]) -> list[str]:
    (tmp_path / "a.xml").write_text("<PubmedArticleSet/>")
    (tmp_path / "rows.jsonl").write_text('{"instruction": "a", "input": "", "output": "b"}\n')
    recipe = {"kind": "data", "sources": {"pubmed": {"url": "a.xml"}, "rows": {"url": "rows.jsonl"}}}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**recipe, "datasets": datasets}, sort_keys=False))
    found = check(path).found
    assert {item.code for item in found} <= {"column-missing"}
    return [item.message.rpartition("`")[0].rpartition("`")[2] for item in found]


@pytest.mark.parametrize("field", ["pmid", "label", "question_type", "instruction"])
def test_a_field_that_is_there(tmp_path: Path, field: str) -> None:
    split = {"train": 0.5, "test": 0.5, "by": field}
    assert said(tmp_path, a={"from": "pubmed", "process": MAKE, "split": split}) == []


def test_a_dataset_made_of_another_has_its_fields(tmp_path: Path) -> None:
    first = {"from": "pubmed", "process": MAKE, "split": {"train": 0.5, "test": 0.5, "by": "pmid"}}
    more = {"from": "a_train", "process": ["processors.convert.dedupe"], "split": {"train": 0.5, "by": "doi"}}
    assert said(tmp_path, b=more, a=first) == ["doi"]


def test_the_format_adds_its_columns(tmp_path: Path) -> None:
    split = {"train": 0.5, "test": 0.5, "by": "output", "stratify": ["conversations"]}
    assert said(tmp_path, a={"from": "pubmed", "process": MAKE, "split": split}) == ["conversations"]


@pytest.mark.parametrize(
    "dataset",
    [
        {"from": "rows", "split": {"train": 0.5, "by": "anything"}},
        {"from": ["pubmed", "rows"], "split": {"train": 0.5, "by": "anything"}},
        {
            "from": "rows",
            "process": [{"fn": "processors.convert.rename", "args": {"fields": {"x": "y"}}}],
            "split": {"train": 0.5, "by": "z"},
        },
        {"from": "rows", "process": ["processors.convert.to_alpaca"], "split": {"train": 0.5, "by": "z"}},
    ],
)
def test_nothing_is_said_where_nobody_knows(tmp_path: Path, dataset: dict[str, Any]) -> None:
    assert said(tmp_path, a=dataset) == []


def test_a_field_within_another_is_known_by_the_outer_one(tmp_path: Path) -> None:
    where = {"where": {"journal.issn": "1", "jurnal.issn": "1", "year": {"at_least": 1978}}}
    step = {"fn": "processors.convert.filter", "args": where}
    assert said(tmp_path, a={"from": "pubmed", "process": [*READ, step], "format": "rows"}) == ["jurnal.issn"]
