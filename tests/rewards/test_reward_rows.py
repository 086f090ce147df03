from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from residency.errors import Missing, RecipeInvalid, StageFailed
from residency.rewards import datasets
from residency.rewards.rows import BadRow, RewardRow, fill, make, read
from residency.rows.formats import entry

ALPACA = {
    "system": "You read.",
    "instruction": "Is it?",
    "input": "A text.",
    "output": "<answer>yes</answer>",
    "label": "yes",
}


def write(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def one(folder: Path, row: dict[str, Any], form: str | None = None, **wanted: Any) -> RewardRow:
    (found,) = read({"rows": wanted}, write(folder, row), entry(form) if form else None)
    return found


def test_alpaca(tmp_path: Path) -> None:
    row = one(tmp_path, ALPACA, "alpaca")
    assert row.messages == [
        {"role": "system", "content": "You read."},
        {"role": "user", "content": "Is it?\nA text."},
    ]
    assert (row.ground_truth, row.gold, row.data_source) == ("yes", "<answer>yes</answer>", "rows")
    assert one(tmp_path, ALPACA) == row, "without an entry the columns tell"


@pytest.mark.parametrize("form", ["sharegpt", "openai"])
def test_conversations(tmp_path: Path, form: str) -> None:
    role, content, column = (
        ("from", "value", "conversations") if form == "sharegpt" else ("role", "content", "messages")
    )
    user, model = ("human", "gpt") if form == "sharegpt" else ("user", "assistant")
    turns = [(user, "a"), (model, "b"), (user, "c"), (model, "d")]
    given = {column: [{role: who, content: text} for who, text in turns], "system": "S"}
    row = one(tmp_path, given, form)
    assert [m["content"] for m in row.messages] == ["S", "a", "b", "c"]
    assert [m["role"] for m in row.messages] == ["system", "user", "assistant", "user"]
    assert (row.gold, row.ground_truth) == ("d", "d")
    assert one(tmp_path, given).messages == row.messages


def test_other_tags_and_columns(tmp_path: Path) -> None:
    described = {
        "formatting": "sharegpt",
        "columns": {"messages": "talk"},
        "tags": {"role_tag": "who", "content_tag": "said", "user_tag": "patient", "assistant_tag": "doctor"},
    }
    path = write(tmp_path, {"talk": [{"who": "patient", "said": "?"}, {"who": "doctor", "said": "!"}]})
    (row,) = read({}, path, described)
    assert (row.messages, row.gold) == ([{"role": "user", "content": "?"}], "!")
    path = write(tmp_path, {"q": "?", "a": "!"})
    (row,) = read({}, path, {"columns": {"prompt": "q", "response": "a"}})
    assert (row.messages, row.gold) == ([{"role": "user", "content": "?"}], "!")


def test_verls_own_rows(tmp_path: Path) -> None:
    given = {
        "data_source": "pubmedqa_2",
        "prompt": [{"role": "user", "content": "Q"}],
        "reward_model": {"style": "rule", "ground_truth": ["a", "b"]},
        "extra_info": {"index": 7, "hops": 2, "label": "no"},
    }
    row = one(tmp_path, given, group="hops", gold="<answer>{label}</answer>")
    assert (row.ground_truth, row.data_source, row.group) == (["a", "b"], "pubmedqa_2", 2)
    assert row.gold == "<answer>no</answer>"
    assert one(tmp_path, given).gold is None
    pytest.importorskip("pyarrow")
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "rows.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([given]), path)
    (same,) = read({"rows": {"group": "hops"}}, path)
    assert (same.messages, same.ground_truth, same.group) == (row.messages, ["a", "b"], 2)


def test_keys_of_the_recipe(tmp_path: Path) -> None:
    given = {"question": "Q?", "context": ["one", "two"], "truth": "maybe", "answer": "other"}
    row = one(
        tmp_path,
        given,
        system="Think.",
        prompt='{context}\n\n{question} Answer as {"answer": "{{label}}"}.',
        ground_truth="truth",
        gold="<answer>{truth}</answer>",
        data_source="mine",
    )
    assert row.messages == [
        {"role": "system", "content": "Think."},
        {"role": "user", "content": 'one\ntwo\n\nQ? Answer as {"answer": "{label}"}.'},
    ]
    assert (row.ground_truth, row.gold, row.data_source) == ("maybe", "<answer>maybe</answer>", "mine")
    merged = one(tmp_path, ALPACA, "alpaca", system="Think.")
    assert merged.messages[0]["content"] == "Think.\n\nYou read.", "one system message, the recipe's first"


def test_gold_comes_from_the_row_when_the_recipe_writes_the_prompt(tmp_path: Path) -> None:
    row = one(tmp_path, {"question": "Q", "output": "full", "label": "x"}, prompt="{question}")
    assert (row.gold, row.ground_truth) == ("full", "x")


def test_gold_of_verls_rows_is_written_from_their_ground_truth(tmp_path: Path) -> None:
    given = {"prompt": [{"role": "user", "content": "Q"}], "reward_model": {"ground_truth": "yes"}}
    assert one(tmp_path, given, gold="<answer>{ground_truth}</answer>").gold == "<answer>yes</answer>"


def test_fill_leaves_other_braces() -> None:
    assert fill('{"a": {"b": 1}} {x}', {"x": 3}, "gold") == '{"a": {"b": 1}} 3'


@pytest.mark.parametrize(
    ("rows", "wanted", "kind", "says"),
    [
        ([], {}, StageFailed, "holds no rows"),
        ([{"instruction": "q"}], {}, StageFailed, "row 1: it has no ground truth"),
        ([ALPACA, {"question": "q", "label": "yes"}], {}, StageFailed, "row 2: it has no prompt"),
        ([ALPACA], {"ground_truth": "lable"}, RecipeInvalid, "no column `lable`"),
        ([ALPACA], {"gold": "{lable}"}, RecipeInvalid, "`rows.gold` names"),
        ([{**ALPACA, "label": None}], {"ground_truth": "label"}, StageFailed, "nothing stands in `label`"),
        ([{**ALPACA, "instruction": " ", "input": ""}], {}, StageFailed, "it has no question"),
        ([{"messages": [{"role": "alien", "content": "x"}]}], {}, StageFailed, "the role 'alien'"),
        ([{"messages": [{"role": "user", "content": 3}]}], {}, StageFailed, "holds no text"),
        (
            [{"prompt": "q", "label": "yes"}],
            {},
            StageFailed,
            "`prompt` is a text, and not a list of messages",
        ),
        ([{**ALPACA, "images": ["x.png"]}], {}, StageFailed, "row 1: it has `images`"),
        (
            [{**ALPACA, "reward_model": {"style": "rule", "ground_truth": None}}],
            {},
            StageFailed,
            "nothing stands in `reward_model.ground_truth`",
        ),
        ([ALPACA, 3], {}, StageFailed, "rows.jsonl:2: a row is not an object"),
        ([3, ALPACA], {}, StageFailed, "rows.jsonl:1: a row is not an object"),
    ],
)
def test_rows_that_cannot_be_used(
    tmp_path: Path, rows: list[Any], wanted: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as caught:
        list(read({"rows": wanted}, write(tmp_path, *rows)))
    assert says in str(caught.value)


def test_a_misspelt_column_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        one(tmp_path, ALPACA, ground_truth="lable")
    assert caught.value.hint is not None
    assert "did you mean `label`?" in caught.value.hint


def test_datasets_are_found(tmp_path: Path) -> None:
    project, recipes = tmp_path / "project", tmp_path / "project" / "recipes"
    recipes.mkdir(parents=True)
    file = write(project, ALPACA)
    write(recipes, ALPACA, name="near.jsonl")
    info = {
        "mine": {"file_name": "rows.jsonl"},
        "far": {"hf_hub_url": "x/y"},
        "gone": {"file_name": "g.jsonl"},
    }
    (project / "dataset_info.json").write_text(json.dumps(info))
    made = {"/run/out/train.jsonl": {"formatting": "alpaca"}}

    def find(value: object) -> list[datasets.Source]:
        return datasets.find({"dataset": value}, "dataset", recipes, project, made)

    assert find("mine, near.jsonl") == [
        datasets.Source("mine", file, info["mine"]),
        datasets.Source("near", recipes / "near.jsonl", None),
    ]
    assert find(["/run/out/train.jsonl"])[0] == datasets.Source(
        "train", Path("/run/out/train.jsonl"), made["/run/out/train.jsonl"]
    )
    assert find(None) == []
    for value, kind, says in (
        ("mien", RecipeInvalid, "did you mean `mine`"),
        ("far", RecipeInvalid, "`data` stage"),
        ("gone", Missing, "dataset_info.json names it"),
        ("none.parquet", Missing, "relative path"),
    ):
        with pytest.raises(kind) as caught:
            find(value)
        assert says in str(caught.value.hint)


VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
TURNS = ["instruction", "input", "output", "messages", "conversations", "prompt", "history", "system"]
OTHERS = ["label", "reward_model", "extra_info", "ground_truth", "data_source"]
NAMES = st.sampled_from([*TURNS, *OTHERS])
ROLES = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "x"]), "content": VALUES}
)


@given(
    row=st.dictionaries(
        NAMES, st.one_of(VALUES, st.lists(ROLES, max_size=3), st.text(max_size=5)), max_size=6
    ),
    wanted=st.dictionaries(
        st.sampled_from(["prompt", "gold", "ground_truth", "system", "group"]),
        st.sampled_from(["{label}", "label", "{", "{{x}}", "{instruction} {input}"]),
        max_size=3,
    ),
)
def test_any_row_is_a_question_or_is_refused(row: dict[str, Any], wanted: dict[str, str]) -> None:
    try:
        made = make(wanted, row, None, "name", 0)
    except BadRow:
        return
    assert made.messages
    assert all(set(m) == {"role", "content"} and isinstance(m["content"], str) for m in made.messages)
    assert made.messages[-1]["content"].strip()
    assert made.ground_truth is not None
    assert sum(m["role"] == "system" for m in made.messages) <= 1
