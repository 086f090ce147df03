"""Prompt styles: read, checked, shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from residency.evaluation import styles
from residency.paths import PROJECT


def problems(given: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    with pytest.raises(styles.BadStyle) as caught:
        styles.style(given)
    return caught.value.problems


@pytest.mark.parametrize("name", sorted(styles.own(PROJECT)))
def test_each_shipped_style_is_sound(name: str) -> None:
    keys = styles.read(styles.own(PROJECT)[name])
    if keys.get("shots"):  # the file of examples is the recipe's
        keys["examples"] = "x.jsonl"
    assert styles.style(keys).description


def test_the_schema_knows_the_keys_of_a_style() -> None:
    schema = json.loads((PROJECT / "schemas" / "kinds" / "evaluate.json").read_text())
    inline = schema["properties"]["prompt"]["anyOf"][1]["properties"]
    assert set(inline) == {"style", *styles.KEYS}
    for key, value in inline.items():
        if "default" in value:
            assert value["default"] == styles.KEYS[key].default, key
    assert tuple(inline["book"]["enum"]) == styles.BOOKS


@pytest.mark.parametrize(
    ("given", "key", "words"),
    [
        ({"qestion": "{question}"}, "qestion", "did you mean `question`?"),
        ({"question": "{qestion}"}, "question", "did you mean `question`?"),
        ({"question": "{question} {label}"}, "question", "no field of a prompt"),
        ({"question": "{question:>3}"}, "question", "only names can stand there"),
        ({"question": "{question"}, "question", "braces"),
        ({"question": "{question} {row.a b}"}, "question", "no field"),
        ({"question": "Which one?"}, "question", "nothing would be asked"),
        ({"option": "{lettre}"}, "option", "did you mean `letter`?"),
        ({"then": "Among {frist}"}, "then", "did you mean `first`?"),
        ({"book": "opne"}, "book", "did you mean `open`?"),
        ({"book": "open", "question": "{question}"}, "question", "{context} stands nowhere"),
        ({"book": "closed", "passages": 2}, "passages", "leaves all evidence out"),
        ({"shots": 3}, "shots", "add `examples: PATH`"),
        ({"shots": True}, "shots", "must be a whole number"),
        ({"shots": -1}, "shots", "at least 0"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"turns": "yes"}, "turns", "true or false"),
        ({"system": 3}, "system", "must be a text"),
    ],
)
def test_what_is_wrong_with_a_style(given: dict[str, Any], key: str, words: str) -> None:
    found = problems(given)
    assert any(one[0] == key and words in f"{one[1]} {one[2]}" for one in found), found


def test_everything_is_said_at_once() -> None:
    assert [key for key, *_ in problems({"qestion": 1, "shots": 2, "book": "x"})] == [
        "qestion",
        "book",
        "shots",
    ]


def test_names_and_row_fields() -> None:
    style = styles.style({"question": "{question} {{not a name}} {row.subject}", "system": "{row.topic}"})
    assert styles.row_fields(style) == {"subject", "topic"}


def test_keys_of(tmp_path: Path) -> None:
    folder = tmp_path / "recipes" / "prompts"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("system: Be brief.\nshots: 2\n")
    (tmp_path / "other.yaml").write_text("system: At length.\n")
    starts = (tmp_path,)
    assert styles.keys_of(None, starts, tmp_path) == {}
    assert styles.keys_of("mine", starts, tmp_path) == {"system": "Be brief.", "shots": 2}
    assert styles.keys_of("other.yaml", starts, tmp_path) == {"system": "At length."}
    assert styles.keys_of({"style": "mine", "shots": 5}, starts, tmp_path)["shots"] == 5
    with pytest.raises(styles.BadStyle, match="no prompt style `mien`") as caught:
        styles.keys_of("mien", starts, tmp_path)
    assert caught.value.problems[0][2] == "did you mean `mine`?"
    (folder / "list.yaml").write_text("- a\n")
    with pytest.raises(styles.BadStyle, match="a style is a mapping"):
        styles.keys_of("list", starts, tmp_path)
    (folder / "broken.yaml").write_text("a: [\n")
    with pytest.raises(styles.BadStyle, match=r"broken\.yaml"):
        styles.keys_of("broken", starts, tmp_path)
