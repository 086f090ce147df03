"""BioASQ's files as they come: what cannot be read is counted and named, and nothing falls over."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from bioasq_case import batch, question
from hypothesis import given, settings
from hypothesis import strategies as st

from residency.benchmark.bioasq import read, score
from residency.errors import Missing, RecipeInvalid


def test_a_training_file(reference_dir: Path) -> None:
    found = read.load(reference_dir / "bioasq" / "training13b_sample.json")
    (one,) = found.questions.values()
    assert (one.id, one.type) == ("55031181e9bde69634000014", "summary")
    assert (len(one.documents), len(one.snippets), len(one.concepts)) == (9, 16, 4)
    assert one.ideal[0].startswith("Coding sequence mutations in RET")
    assert not found.problems


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([7], "no mapping; left out"),
        ([{"type": "yesno"}], "no id; left out"),
        ([{"id": ""}], "no id; left out"),
        ([{"id": ["x"]}], "no id; left out"),
        (
            [question("a", "yesno", "no"), question("a", "yesno", "yes")],
            "an id that was there before; left out",
        ),
        ([question("a", "essay")], "an unknown type"),
        ([question("a", "yesno", True)], "exact_answer is neither text nor list; not read"),
        ([question("a", "factoid", {"x": 1})], "exact_answer is neither text nor list; not read"),
        ([question("a", "list", [["x"], None])], "an entry of exact_answer that is no text; left out"),
        ([question("a", "list", [["x", None]])], "an entry of exact_answer that is no text; left out"),
        ([question("a", "list", documents="http://x/1")], "documents is no list; not read"),
        (
            [question("a", "list", documents=[1.5, None])],
            "an entry of documents that cannot be read; left out",
        ),
        ([question("a", "list", snippets=["x"])], "an entry of snippets that cannot be read; left out"),
        (
            [question("a", "list", snippets=[{"offsetInBeginSection": "x"}])],
            "an entry of snippets that cannot be read; left out",
        ),
        ([question("a", "list", triples=[{"s": []}])], "an entry of triples that cannot be read; left out"),
        (
            [question("a", "list", snippets=[{"offsetInBeginSection": 5, "offsetInEndSection": 2}])],
            "a snippet that ends before it begins; its size is 0 or less, as officially",
        ),
    ],
)
def test_what_is_wrong_is_named(rows: list[Any], problem: str) -> None:
    found = read.parse({"questions": rows})
    assert problem in found.problems.counts
    assert all(found.problems.places[problem])


def test_the_first_of_two_with_one_id_stays() -> None:
    found = batch(question("a", "yesno", "no"), question("a", "yesno", "yes"))
    assert found.questions["a"].said == "no"


def test_a_plain_list_is_synonyms_in_gold_and_candidates_in_a_system() -> None:
    row = question("a", "factoid", ["x", "y"])
    assert batch(row).questions["a"].answers == (("x", "y"),)
    assert batch(row, gold=False).questions["a"].answers == (("x",), ("y",))
    assert batch(question("a", "list", ["x", "y"])).questions["a"].answers == (("x",), ("y",))


def test_gold_without_answers_is_not_scored_but_named() -> None:
    gold = batch(
        question("a", "yesno"), question("b", "yesno", "yes"), question("c", "list", "x"), {"id": "d"}
    )
    found = score.score(gold, batch(question("b", "yesno", "yes"), gold=False), "b")
    assert {figure.name: figure.n for figure in found.figures}["yesno_accuracy"] == 1
    assert found.problems.counts == {
        "gold: no exact answer to a yesno question; not scored": 1,
        "gold: no exact answer to a list question; not scored": 1,
        "gold: no type; not scored in phase B": 1,
    }


def test_sections_with_a_number_and_offsets_as_text() -> None:
    row = {"document": "d", "beginSection": "sections.0", "endSection": "sections.0"}
    row |= {"offsetInBeginSection": "3", "offsetInEndSection": "7.0"}
    (one,) = batch(question("a", "list", snippets=[row])).questions["a"].snippets
    assert (one.begin_section, one.begin, one.end) == ("0", 3, 7)


def test_files(tmp_path: Path) -> None:
    text = json.dumps({"questions": [question("a", "list", [[1.50], [2]])]})
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.encode()))
    assert read.load(path).questions["a"].answers == (("1.5",), ("2",))
    with pytest.raises(Missing, match="no file"):
        read.load(tmp_path / "absent.json")
    with pytest.raises(RecipeInvalid, match="is a folder"):
        read.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2", '{"questions": 3}', "7", '{"q": []}', "\x1f\x8b", "[" * 90000]
)
def test_files_that_are_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeInvalid):
        read.load(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
KEYS = ("id", "type", "body", "exact_answer", "ideal_answer", "documents", "snippets", "triples", "concepts")
ROW = st.fixed_dictionaries({}, optional={key: JSON for key in KEYS if key not in ("id", "type")}).flatmap(
    lambda row: st.builds(
        lambda name, kind: row | {"id": name, "type": kind},
        st.sampled_from(["a", "b"]),
        st.sampled_from(read.TYPES),
    )
)
SNIPPET = st.fixed_dictionaries(
    {},
    optional={
        "document": JSON,
        "beginSection": JSON,
        "offsetInBeginSection": JSON | st.integers(-9, 9),
        "offsetInEndSection": JSON | st.integers(-9, 9),
    },
)


@settings(max_examples=25)
@given(st.lists(ROW, max_size=3), st.lists(ROW, max_size=3), st.lists(SNIPPET, max_size=4))
def test_anything_can_be_scored(gold: list[Any], said: list[Any], snippets: list[Any]) -> None:
    first = question("q", "factoid", [["x"]], snippets=snippets)
    second = question("q", "factoid", [["x"]], snippets=snippets[::-1])
    for phase in ("a", "b"):
        found = score.score(batch(first, *gold), batch(second, *said, gold=False), phase)  # type: ignore[arg-type]
        json.dumps(found.to_json(), allow_nan=False)
