"""The prompts of a stage: verl's form, lengths as verl counts them, and every fault of the data said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import TEMPLATE, make_tiny_model
from tool_chat import TOOLS

from residency.engines.verl import prompts
from residency.engines.verl.prompts.length import Measure
from residency.engines.verl.prompts.report import quantiles
from residency.engines.verl.prompts.rows import truth_shape
from residency.errors import Missing, RecipeInvalid, ResidencyError, StageFailed

pq = pytest.importorskip("pyarrow.parquet")
CALCULATOR = "residency.tools.calculator.calculate"
SYSTEM = "Answer with yes or no."


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)


def questions(n: int, words: int = 5) -> list[dict[str, Any]]:
    return [
        {"question": f"Question {i}? " + "trial " * words, "label": ("yes", "no")[i % 2], "pmid": 100 + i}
        for i in range(n)
    ]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROWS = {"prompt": "{question}", "gold": "<answer>{label}</answer>", "system": SYSTEM}


def write(
    tmp_path: Path,
    model: Path | str,
    train: Path,
    val: Path | None = None,
    *,
    rows: dict[str, Any] | None = None,
    limit: int = 200,
    batch: int = 2,
    verl: dict[str, Any] | None = None,
    tools: list[str] | None = None,
    folder: str = "stage",
) -> dict[str, Any]:
    config = {
        "dataset": str(train),
        "eval_dataset": str(val) if val else None,
        "rows": {**ROWS, **(rows or {})},
        "verl": verl or {},
        "tools": tools or [],
    }
    stage = {
        "config": config,
        "recipe_folder": str(tmp_path),
        "project": str(tmp_path),
        "datasets": {},
        "model": str(model),
        "batch": batch,
        "max_prompt_length": limit,
    }
    return prompts.write(stage, tmp_path / folder)


def read(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_rows_in_verl_form(tmp_path: Path, model: Path) -> None:
    train, val = jsonl(tmp_path / "train.jsonl", questions(6)), jsonl(tmp_path / "val.jsonl", questions(3))
    report = write(tmp_path, model, train, val)
    rows = read(tmp_path / "stage" / prompts.TRAIN)
    assert rows[1] == {
        "prompt": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": questions(2)[1]["question"]},
        ],
        "data_source": "train",
        "reward_model": {"style": "rule", "ground_truth": "no"},
        "extra_info": {
            "index": 1,
            "question": questions(2)[1]["question"],
            "label": "no",
            "pmid": 101,
            "gold": "<answer>no</answer>",
        },
    }
    assert len(read(tmp_path / "stage" / prompts.VAL)) == 3
    assert report == json.loads((tmp_path / "stage" / prompts.REPORT).read_text())
    assert (report["train"]["kept"], report["val"]["kept"]) == (6, 3)
    assert sorted(p.name for p in (tmp_path / "stage/data").iterdir()) == [
        "report.json",
        "train.parquet",
        "val.parquet",
    ]


def test_the_same_again(tmp_path: Path, model: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", questions(20))
    for folder in ("a", "b"):
        write(tmp_path, model, train, folder=folder)
    for path in (prompts.TRAIN, prompts.VAL, prompts.REPORT):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_without_validation_a_row_stands_in(tmp_path: Path, model: Path) -> None:
    report = write(tmp_path, model, jsonl(tmp_path / "train.jsonl", questions(4)))
    assert report["val"] is None
    assert len(read(tmp_path / "stage" / prompts.VAL)) == 1


def test_verl_files_keep_what_they_bring(tmp_path: Path, model: Path) -> None:
    import pyarrow

    rows = [
        {
            "prompt": [{"role": "user", "content": f"Question {i}"}],
            "data_source": "medqa",
            "ability": "medicine",
            "reward_model": {"style": "model", "ground_truth": ["yes", "y"]},
            "extra_info": {"index": 7, "options": {"A": "yes", "B": None}, "split": "train"},
        }
        for i in range(3)
    ]
    path = tmp_path / "own.parquet"
    pq.write_table(pyarrow.Table.from_pylist(rows), path)
    files = {"data": {"train_files": [str(path)]}}
    stage = {
        "config": {"verl": files},
        "recipe_folder": str(tmp_path),
        "project": str(tmp_path),
        "datasets": {},
        "model": str(model),
        "batch": 1,
        "max_prompt_length": 100,
    }
    prompts.write(stage, tmp_path / "stage")
    row = read(tmp_path / "stage" / prompts.TRAIN)[2]
    assert row["prompt"] == rows[2]["prompt"]
    assert row["data_source"] == "medqa"
    assert row["reward_model"] == {"style": "model", "ground_truth": ["yes", "y"]}
    assert row["extra_info"]["options"] == {"A": "yes", "B": None}
    assert (row["extra_info"]["index"], row["extra_info"]["ability"]) == (2, "medicine")


def test_long_prompts_dropped_truncated_or_refused(tmp_path: Path, model: Path, tokenizer: Any) -> None:
    data = questions(6)
    data[2]["question"] = "study " * 300 + "Is it the last word?"
    train = jsonl(tmp_path / "train.jsonl", data)
    report = write(tmp_path, model, train, folder="drop")
    assert (report["train"]["read"], report["train"]["kept"], report["train"]["dropped"]) == (6, 5, 1)
    assert report["train"]["too_long"][0]["row"].endswith("train.jsonl, row 3")

    report = write(tmp_path, model, train, rows={"long_prompts": "truncate"}, folder="cut")
    assert (report["train"]["kept"], report["train"]["truncated"]) == (6, 1)
    messages = read(tmp_path / "cut" / prompts.TRAIN)[2]["prompt"]
    assert messages[0] == {"role": "system", "content": SYSTEM}
    assert messages[1]["content"].endswith("Is it the last word?")
    length = Measure(tokenizer).lengths([messages])[0]
    assert 195 <= length <= 200
    assert report["train"]["tokens"]["max"] == length

    with pytest.raises(StageFailed, match=r"1 of 6 prompts are longer than 200 tokens .*row 3: \d+ tokens"):
        write(tmp_path, model, train, rows={"long_prompts": "stop"}, folder="stop")
    assert list((tmp_path / "stop/data").iterdir()) == []


def test_nothing_left_and_too_few(tmp_path: Path, model: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", questions(6))
    with pytest.raises(StageFailed, match="all 6 are longer than 4 tokens"):
        write(tmp_path, model, train, limit=4)
    with pytest.raises(StageFailed, match="there are 6 prompts to train on, and one step takes 8") as caught:
        write(tmp_path, model, train, batch=8)
    assert "train_batch_size" in str(caught.value.hint)
    with pytest.raises(StageFailed, match=r"there are 6 .* one step takes 16"):
        write(tmp_path, model, train, verl={"data.gen_batch_size": 16})
    with pytest.raises(StageFailed, match=r"2 prompts .* takes 4") as caught:
        write(tmp_path, model, train, batch=4, rows={"max_samples": 2})
    assert "`rows.max_samples` is 2" in str(caught.value.hint)
    assert not (tmp_path / "stage" / prompts.TRAIN).exists()


def test_a_few_rows_are_a_few_of_each(tmp_path: Path, model: Path) -> None:
    one, two = jsonl(tmp_path / "one.jsonl", questions(9)), jsonl(tmp_path / "two.jsonl", questions(9))
    stage_rows = {"max_samples": 4, "max_eval_samples": 3}
    report = write(tmp_path, model, f"{one}, {two}", two, rows=stage_rows)  # type: ignore[arg-type]
    assert report["train"]["datasets"] == {"one": 2, "two": 2}
    assert report["train"]["read"] == report["train"]["kept"] == 4
    assert report["val"]["kept"] == 3


@pytest.mark.parametrize(
    ("rows", "wanted", "says"),
    [
        (
            [{"question": "a", "label": "yes"}, {"question": "b", "label": ["no"]}],
            {},
            "a list, while that of",
        ),
        ([{"question": "a", "label": float("nan")}], {}, "row 1: the ground truth is nan"),
        ([{"question": "a", "label": "  "}], {}, "the ground truth is empty"),
        ([{"question": "a", "label": []}], {}, "the ground truth is an empty list"),
        ([{"question": "a", "label": ["x", 3]}], {}, "a list of a number and text"),
        ([{"question": "a", "label": "yes"}, {"question": "b", "label": None}], {}, "row 2"),
        ([{"question": "a"}], {}, "row 1"),
        ([{"text": "a", "label": "yes"}], {}, "no column `question`"),
        ([{"question": "a", "label": "yes"}], {"ground_truth": "lable"}, "no column `lable`"),
        ([], {}, "holds no rows"),
    ],
)
def test_faulty_data_is_told(
    tmp_path: Path, model: Path, rows: list[dict[str, Any]], wanted: dict[str, Any], says: str
) -> None:
    train = jsonl(tmp_path / "train.jsonl", rows)
    with pytest.raises(ResidencyError, match=says) as caught:
        write(tmp_path, model, train, rows=wanted, batch=1)
    assert caught.value.hint or "nothing stands in" in caught.value.message
    assert not (tmp_path / "stage" / prompts.TRAIN).exists()


def test_a_file_that_is_not_there_and_none_named(tmp_path: Path, model: Path) -> None:
    with pytest.raises(Missing, match=r"none\.jsonl"):
        write(tmp_path, model, tmp_path / "none.jsonl")
    with pytest.raises(RecipeInvalid, match="nothing to train on"):
        write(tmp_path, model, "")  # type: ignore[arg-type]


def test_columns_of_several_types_are_left_out_and_said(tmp_path: Path, model: Path) -> None:
    data = questions(4)
    for row, value in zip(data, (1, "two", [3], {}), strict=True):
        row.update(mixed=value, hollow={}, nothing=None)
    report = write(tmp_path, model, jsonl(tmp_path / "train.jsonl", data))
    assert set(report["train"]["columns_left_out"]) == {"extra_info.mixed", "extra_info.hollow"}
    kept = read(tmp_path / "stage" / prompts.TRAIN)[0]["extra_info"]
    assert {"mixed", "hollow"}.isdisjoint(kept)
    assert kept["nothing"] is None


def test_models_that_cannot_chat(tmp_path: Path, model: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", questions(4))
    bare = make_tiny_model(tmp_path / "bare")
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    with pytest.raises(StageFailed, match="has no chat template") as caught:
        write(tmp_path, bare, train)
    assert "custom_chat_template" in str(caught.value.hint)
    own = {"actor_rollout_ref": {"model": {"custom_chat_template": TEMPLATE}}}
    assert write(tmp_path, bare, train, verl=own)["train"]["kept"] == 4
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    refuses = {"actor_rollout_ref.model.custom_chat_template": strict + TEMPLATE}
    with pytest.raises(StageFailed, match="no system role") as caught:
        write(tmp_path, bare, train, verl=refuses)
    assert "system" in str(caught.value.hint)
    with pytest.raises(Missing, match=r"tokenizer of .*nowhere"):
        write(tmp_path, tmp_path / "nowhere", train)


def test_tools_count_towards_the_length(tmp_path: Path, model: Path) -> None:
    train = jsonl(tmp_path / "train.jsonl", questions(4))
    with pytest.raises(StageFailed, match="does not tell the model of tools"):
        write(tmp_path, model, train, tools=[CALCULATOR])
    deaf = TOOLS.replace("{{ '<|im_start|>' + m.role", "{% if m.role != 'tool' %}{{ '<|im_start|>' + m.role")
    deaf = deaf.replace("{{ '<|im_end|>\n' }}{% endif %}{% endfor %}", "{% endif %}{% endif %}{% endfor %}")
    key = "actor_rollout_ref.model.custom_chat_template"
    with pytest.raises(StageFailed, match="what a tool answered"):
        write(tmp_path, model, train, tools=[CALCULATOR], verl={key: deaf})
    without = write(tmp_path, model, train, verl={key: TOOLS}, limit=2000)
    told = write(tmp_path, model, train, verl={key: TOOLS}, limit=2000, tools=[CALCULATOR])
    assert told["train"]["tokens"]["min"] > without["train"]["tokens"]["min"] + 100


@settings(max_examples=60)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=80), min_size=1, max_size=3),
    limit=st.integers(1, 120),
    system=st.booleans(),
)
def test_what_is_cut_fits_and_keeps_its_shape(
    tokenizer: Any, texts: list[str], limit: int, system: bool
) -> None:
    measure = Measure(tokenizer)
    roles = ["system"] * system + ["user", "assistant", "user"]
    messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
    if measure.lengths([messages])[0] <= limit:
        return
    found = measure.cut(messages, limit)
    if found is None:
        assert measure.lengths([[{**m, "content": ""} for m in messages]])[0] > limit
        return
    cut, length = found
    assert measure.lengths([cut])[0] == length <= limit
    assert [m["role"] for m in cut] == [m["role"] for m in messages]
    for before, after in zip(messages, cut, strict=True):
        assert before["content"].endswith(after["content"])


def test_a_tokenizer_without_offsets(tokenizer: Any) -> None:
    class Slow:
        is_fast = False

        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            assert "return_offsets_mapping" not in kwargs
            return tokenizer(*args, **kwargs)

    found = Measure(Slow()).cut([{"role": "user", "content": "one two three " * 50}], 60)
    assert found is not None
    assert 55 <= found[1] <= 60


def test_lengths_are_those_of_the_rollout(tokenizer: Any) -> None:
    measure = Measure(tokenizer)
    messages = [
        [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        for text in ("Is it?", "π ≈ 3.14 <|im_end|> and more", "a\n\n b")
    ]
    told = [
        len(tokenizer.apply_chat_template(m, add_generation_prompt=True, tokenize=True)["input_ids"])
        for m in messages
    ]
    assert measure.lengths(messages) == told


def test_shapes_and_quantiles() -> None:
    assert truth_shape({"a": 1}) == "an object"
    assert truth_shape(3) == truth_shape(2.5) == "a number"
    assert truth_shape(True) == "true or false"
    with pytest.raises(ValueError, match="type bytes"):
        truth_shape(b"x")
    assert quantiles(range(1, 101)) == {"min": 1, "p50": 50, "p90": 90, "p99": 99, "max": 100, "sum": 5050}
    assert quantiles([]) == {}


@pytest.mark.slow
def test_verl_reads_them_and_finds_none_too_long(tmp_path: Path, model: Path, tokenizer: Any) -> None:
    pytest.importorskip("verl")
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    data = questions(40, words=3)
    for index in range(0, 40, 4):
        data[index]["question"] = "study " * (30 + index)
    train = jsonl(tmp_path / "train.jsonl", data)
    report = write(tmp_path, model, train, rows={"long_prompts": "truncate"}, limit=60)
    assert report["train"]["truncated"] > 5
    assert report["train"]["tokens"]["max"] == 60
    for limit, all_kept in ((60, True), (59, False)):
        config = OmegaConf.create(
            {
                "cache_dir": str(tmp_path / "cache"),
                "max_prompt_length": limit,
                "filter_overlong_prompts": True,
                "filter_overlong_prompts_workers": None,
            }
        )
        found = RLHFDataset(str(tmp_path / "stage" / prompts.TRAIN), tokenizer, config)
        assert (len(found) == 40) is all_kept  # the longest have 60, not one fewer
    batch = collate_fn([found[0], found[1]])
    assert batch["reward_model"][0]["ground_truth"] in ("yes", "no")
    assert batch["index"].tolist() == [found[0]["extra_info"]["index"], found[1]["extra_info"]["index"]]
