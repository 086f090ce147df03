"""Rows that leak are found however they are written, and nothing else is."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from leak_case import alpaca, disguised, row_set, sentence

from processors import pubmedqa
from residency.contamination.find import compare
from residency.contamination.rows import RowSet


@pytest.mark.slow
def test_five_planted_rows_among_ten_thousand(tmp_path: Path) -> None:
    chance = random.Random(5)
    training = [alpaca(chance) for _ in range(10_000)]
    evaluation = [alpaca(chance, words=chance.randint(8, 20)) for _ in range(1_000)]
    planted = dict(zip(chance.sample(range(10_000), 5), chance.sample(range(1_000), 5), strict=True))
    for way, (place, asked) in enumerate(planted.items()):
        question = evaluation[asked]["instruction"].split("?")[0] + "?"
        copied = disguised(question, random.Random(way))
        training[place] = {
            "messages": [{"role": "user", "content": copied}, {"role": "assistant", "content": "No."}]
        }
    found = compare(
        [row_set("sft", tmp_path / "train.jsonl", training)],
        [row_set("after", tmp_path / "test.jsonl", evaluation)],
    )
    pairs = {(leak.training.row - 1, leak.evaluation.row - 1) for leak in found.leaks}
    assert pairs == set(planted.items())
    assert found.training == {"sft": 10_000}
    assert all(leak.shared and leak.training_text for leak in found.leaks)


@pytest.mark.parametrize("way", range(5))
@pytest.mark.parametrize("words", [7, 13, 25])
def test_each_disguise(tmp_path: Path, way: int, words: int) -> None:
    chance = random.Random(words)
    evaluation = [alpaca(chance, words=words) for _ in range(40)]
    wanted = evaluation[17]["instruction"].split("?")[0]

    class Fixed(random.Random):
        def randrange(self, *_: object) -> int:  # type: ignore[override]
            return way

    training = [alpaca(chance) for _ in range(50)] + [{"text": "So: " + disguised(wanted, Fixed()) + " Yes."}]
    found = compare(
        [row_set("sft", tmp_path / "a.jsonl", training)], [row_set("e", tmp_path / "b.jsonl", evaluation)]
    )
    assert [(leak.evaluation.row, leak.training.row) for leak in found.leaks] == [(18, 51)]


@settings(max_examples=40)
@given(
    text=st.lists(
        st.from_regex(r"[a-zA-Zß-öø-ÿα-ωа-я0-9]{2,9}", fullmatch=True), min_size=26, max_size=40, unique=True
    ),
    gaps=st.lists(
        st.sampled_from([" ", "  ", "\n", ", ", "-", "\u00a0", " \u201c", "\t/ ", "\u200b "]),
        min_size=40,
        max_size=40,
    ),
    upper=st.booleans(),
    tail=st.text(max_size=30),
)
def test_a_text_is_found_whatever_stands_between_its_words(
    tmp_path_factory: pytest.TempPathFactory, text: list[str], gaps: list[str], upper: bool, tail: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    copied = "".join(word + gap for word, gap in zip(text, gaps, strict=False))
    copied = (copied.upper() if upper else copied) + " " + tail
    found = compare(
        [row_set("sft", folder / "a.jsonl", [{"text": copied}])],
        [row_set("e", folder / "b.jsonl", [{"question": " ".join(text), "answer": "yes"}])],
    )
    assert len(found.leaks) == 1


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), rows=st.integers(1, 60))
def test_a_shared_frame_is_no_leak(tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int) -> None:
    folder = tmp_path_factory.mktemp("frame")
    chance = random.Random(seed)
    train, test = ([alpaca(chance, words=9) for _ in range(rows + more)] for more in (5, 0))
    found = compare([row_set("sft", folder / "a.jsonl", train)], [row_set("e", folder / "b.jsonl", test)])
    assert found.leaks == []


def test_an_answered_question_may_leak_many_times(tmp_path: Path) -> None:
    chance = random.Random(3)
    evaluation = [alpaca(chance) for _ in range(100)]
    training = [alpaca(chance) for _ in range(100)]
    training += [{**evaluation[4], "output": sentence(chance, 9)} for _ in range(64)]
    found = compare(
        [row_set("s", tmp_path / "a.jsonl", training)], [row_set("e", tmp_path / "b.jsonl", evaluation)]
    )
    assert {leak.evaluation.row for leak in found.leaks} == {5}
    assert len(found.leaks) == 64


def test_ids_count_only_where_they_mean_the_same(tmp_path: Path) -> None:
    chance = random.Random(1)

    def rows(**more: object) -> list[dict[str, object]]:
        return [
            {**alpaca(chance), "id": str(n), "nr": n, **{k: f"{v}{n}" for k, v in more.items()}}
            for n in range(1, 9)
        ]

    def leaks(train: list[dict[str, object]], test: list[dict[str, object]], *named: str) -> list[list[str]]:
        sets = [row_set("s", tmp_path / "a.jsonl", train)], [row_set("e", tmp_path / "b.jsonl", test)]
        return [leak.ids for leak in compare(*sets, named_ids=named).leaks]

    assert leaks(rows(), rows()) == []
    assert leaks(rows(), rows(), "nr") == [[f"nr:{n}"] for n in range(1, 9)]
    assert leaks(rows(pmid="1000"), rows(PMID="1000")) == [[f"pmid:1000{n}"] for n in range(1, 9)]
    assert leaks(rows(pmid="1000"), rows(pmid="2000")) == []
    hexes = [{**alpaca(chance), "id": f"55031181e9bde6963400001{n}"} for n in range(3)]
    assert len(leaks(hexes, [{"body": sentence(chance, 9), "id": hexes[1]["id"]}])) == 1


@pytest.mark.parametrize("settings_", [{}, {"tags": True}, {"contexts": False}])
def test_no_alarm_on_the_own_split_of_pubmedqa(
    mirror_dir: Path, tmp_path: Path, settings_: dict[str, bool]
) -> None:
    files = [
        {"path": str(next(mirror_dir.rglob(name)))} for name in ("ori_pqal.json", "test_ground_truth.json")
    ]
    train, test = (list(pubmedqa.read(iter(files), part=part, **settings_)) for part in ("train", "test"))  # type: ignore[arg-type]
    sets = row_set("sft", tmp_path / "a.jsonl", train), row_set("e", tmp_path / "b.jsonl", test)
    found = compare([sets[0]], [sets[1]])
    assert (len(train), len(test), found.leaks) == (500, 500, [])
    planted = {
        "instruction": disguised(test[7]["instruction"].split("?")[0], random.Random(2)),
        "output": "yes",
    }
    again = compare([row_set("sft", tmp_path / "a.jsonl", [*train, planted])], [sets[1]])
    assert [(leak.evaluation.row, leak.training.row) for leak in again.leaks] == [(8, 501)]


def test_the_excerpts_are_the_rows_own_words(tmp_path: Path) -> None:
    question = "Does β-blocker therapy after Ménière’s surgery cut re-admission in older adults, or not?"
    copied = "Q:  DOES Β BLOCKER THERAPY AFTER MENIERE'S SURGERY CUT READMISSION IN OLDER ADULTS OR NOT"
    found = compare(
        [row_set("sft", tmp_path / "a.jsonl", [{"text": copied}])],
        [row_set("e", tmp_path / "b.jsonl", [{"question": question}])],
    )
    (leak,) = found.leaks
    assert leak.shared == question.removesuffix("?")
    assert leak.training_text == copied.removeprefix("Q:  ")
    assert (leak.field, leak.words == leak.of) == ("question", True)


def test_formats_and_folders(tmp_path: Path) -> None:
    chance = random.Random(2)
    rows = [{"question": sentence(chance, 15)} for _ in range(6)]
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(rows[:2]))
    (folder / "b.csv").write_text("question\n" + rows[3]["question"] + "\n")
    found = compare([RowSet("s", (str(folder),))], [row_set("e", tmp_path / "b.jsonl", rows)])
    assert [(Path(x.training.file).name, x.evaluation.row) for x in found.leaks] == [
        ("a.json", 1),
        ("a.json", 2),
        ("b.csv", 4),
    ]
