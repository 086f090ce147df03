from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from residency.plan import fingerprint as fp
from residency.plan.hashing import FileHashes
from residency.stages.base import Inputs


def parts(config: dict[str, Any], folder: Path, **given: Any) -> dict[str, str]:
    return fp.parts(
        config,
        given.pop("inputs", Inputs()),
        engine="llamafactory",
        engine_version=given.pop("version", "0.9.5"),
        stage_key=given.pop("stage_key", lambda stage: f"{stage}-key"),
        hashes=FileHashes(folder / "hashes.json"),
        recipe_folder=folder,
        roots=(folder,),
        gpus=given.pop("gpus", 0),
    )


def test_the_name_and_what_a_kind_ignores_do_not_count(tmp_path: Path) -> None:
    ignore = Inputs(ignore=("llamafactory.logging_steps",))
    one = parts({"name": "a", "llamafactory": {"lr": 1, "logging_steps": 5}}, tmp_path, inputs=ignore)
    two = parts({"name": "b", "llamafactory": {"lr": 1, "logging_steps": 9}}, tmp_path, inputs=ignore)
    assert fp.fingerprint(one) == fp.fingerprint(two)
    three = parts({"name": "a", "llamafactory": {"lr": 2}}, tmp_path, inputs=ignore)
    assert fp.fingerprint(three) != fp.fingerprint(one)


def test_a_file_counts_by_content_not_by_path(tmp_path: Path) -> None:
    for name, text in (("one", "same"), ("two", "same"), ("three", "other")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.jsonl").write_text(text)
        os.utime(tmp_path / name / "data.jsonl", (1, 1))

    def of(name: str) -> str:
        path = tmp_path / name / "data.jsonl"
        return fp.fingerprint(
            parts({"dataset": f"{name}/data.jsonl"}, tmp_path, inputs=Inputs(files=(path,)))
        )

    assert of("one") == of("two")
    assert of("one") != of("three")


def test_another_stage_counts_by_its_key(tmp_path: Path) -> None:
    config = {"model": "⟦stages.sft.outputs.model⟧"}
    one = parts(config, tmp_path)
    two = parts(config, tmp_path, stage_key=lambda stage: "sft-other")
    assert fp.fingerprint(one) != fp.fingerprint(two)
    assert one["recipe.model"] == '"stage:sft-key/model"'


def test_the_engine_version_counts(tmp_path: Path) -> None:
    assert parts({}, tmp_path) != parts({}, tmp_path, version="0.9.6")


def test_differences_are_said_in_words() -> None:
    old = {"recipe.llamafactory.learning_rate": "0.0001", "recipe.seed": "1", "file.train.jsonl": "aa"}
    new = {"recipe.llamafactory.learning_rate": "0.0002", "recipe.limit": "5", "file.train.jsonl": "bb"}
    said = fp.difference(old, new)
    assert "learning_rate changed: 0.0001 → 0.0002" in said
    assert "train.jsonl changed" in said
    assert fp.difference(old, old) == ""


def test_a_file_that_changed_is_said_once(tmp_path: Path) -> None:
    def of(text: str, *names: str, **more: Any) -> dict[str, str]:
        for n, name in enumerate(names):
            (tmp_path / name).write_text(f"{text} {n}")
        files = tuple(tmp_path / name for name in names)
        config = {"from": list(names) if len(names) > 1 else names[0], **more}
        return parts(config, tmp_path, inputs=Inputs(files=files))

    assert fp.difference(of("one", "rows.jsonl"), of("two", "rows.jsonl")) == "rows.jsonl changed"
    assert fp.difference(of("one", "rows.jsonl"), of("two", "b.jsonl")) == "b.jsonl instead of rows.jsonl"
    many = [f"{letter}.jsonl" for letter in "abcdef"]
    said = fp.difference(of("one", *many, n=1), of("one", *many[:-1], "g.jsonl", n=2))
    assert said == "g.jsonl instead of f.jsonl, n changed: 1 → 2"
    before = of("one", *many)
    (tmp_path / "f.jsonl").write_text("other")
    after = parts({"from": many}, tmp_path, inputs=Inputs(files=tuple(tmp_path / name for name in many)))
    assert fp.difference(before, after) == "f.jsonl changed"
    assert "from changed" in fp.difference(before, of("one", *many[:3]))


def test_the_gpus_that_are_used_count_not_those_asked_for(tmp_path: Path) -> None:
    def of(gpus: int, **asked: Any) -> dict[str, str]:
        return parts({"llamafactory": {"lr": 1}, **asked}, tmp_path, gpus=gpus)

    assert of(0) == of(0, resources={"gpus": 4})
    assert of(4) == of(4, resources={"gpus": 4})
    assert fp.fingerprint(of(4)) != fp.fingerprint(of(0))
    assert fp.difference(of(0), of(4)) == "4 GPUs instead of the CPU"
    assert fp.difference(of(4), of(1)) == "1 GPU instead of 4 GPUs"
    assert fp.difference(of(4), of(0)) == "the CPU instead of 4 GPUs"
    assert fp.difference(of(4), of(4)) == ""


def test_a_secret_is_in_no_part(tmp_path: Path) -> None:
    found = parts({"env": {"WANDB_API_KEY": "⟦secret:WANDB_API_KEY⟧"}}, tmp_path)
    assert found["recipe.env.WANDB_API_KEY"] == '"<secret:WANDB_API_KEY>"'
