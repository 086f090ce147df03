from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from residency.engines.base import Engine, Job, Launch, Verified
from residency.errors import Missing, RecipeInvalid
from residency.plan import build as building
from residency.plan.build import Selection, build, in_order
from residency.plan.hashing import FileHashes
from residency.plan.model import Plan
from residency.recipe.model import Recipe, Reference
from residency.recipe.nodes import Mapping as Tree
from residency.recipe.nodes import Span, from_plain
from residency.stages.base import Output, StageKind

HERE = Span("recipe.yaml", 1, 1, 1, 2)


class EchoEngine(Engine):
    name = "echo"
    distribution = "pip"

    def version(self) -> str | None:
        return "1"

    def prepare(self, job: Job) -> Launch:
        return Launch(argv=("echo", str(job.config.get("model", ""))))

    def verify(self, job: Job) -> Verified:
        return Verified({})


class EchoKind(StageKind):
    name = "echo"

    def engine(self, config: Mapping[str, Any]) -> Engine:
        return EchoEngine()

    def outputs(self, config: Mapping[str, Any]) -> dict[str, Output]:
        return {"model": Output("model", "model"), "rows": Output("rows.jsonl", "dataset", {"columns": {}})}


@dataclass
class FakeChoice:
    key: str
    folder: Path
    action: str
    reason: str = ""


@dataclass
class FakeStore:
    folder: Path
    known: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Fingerprint → (key, status), newest first."""
    parts: dict[str, Mapping[str, str]] = field(default_factory=dict)

    def choose(self, kind: str, fingerprint: str, *, fresh: bool = False) -> FakeChoice:
        known = self.known.get(fingerprint, [])
        for key, status in [] if fresh else known:
            if status == "done":
                return FakeChoice(key, self.folder / key, "reuse", "finished before")
        for key, _ in [] if fresh else known:
            return FakeChoice(key, self.folder / key, "resume", "begun before")
        key = f"{kind}-{fingerprint[:16]}" + (f".{len(known) + 1}" if known else "")
        return FakeChoice(key, self.folder / key, "run")

    def remember(self, plan: Plan, status: str = "done") -> None:
        for stage in plan.stages:
            self.known.setdefault(stage.fingerprint, []).insert(0, (stage.key, status))
            self.parts[stage.name] = stage.parts


def recipe(folder: Path, name: str, config: dict[str, Any], uses: tuple[str, ...] = ()) -> Recipe:
    tree = from_plain({"kind": "echo", **config}, HERE)
    assert isinstance(tree, Tree)
    references = [Reference("stage", (stage, "model"), ("model",), HERE) for stage in uses]
    return Recipe(folder / "recipe.yaml", "echo", name, tree, references=references)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Recipe]:
    monkeypatch.setattr(building.kinds, "get", lambda kind: EchoKind())
    return {
        "after": recipe(tmp_path, "after", {"model": "⟦stages.sft.outputs.model⟧"}, ("sft",)),
        "sft": recipe(tmp_path, "sft", {"model": "⟦stages.data.outputs.model⟧", "rate": 1}, ("data",)),
        "data": recipe(tmp_path, "data", {"env": {"KEY": "⟦secret:MY_KEY⟧"}}),
    }


def plan(stages: dict[str, Recipe], store: FakeStore, **given: Any) -> Plan:
    root = recipe(store.folder, "root", {})
    return build(
        root,
        stages,
        store=store,
        previous=store.parts.get,
        hashes=FileHashes(store.folder / "h.json"),
        **given,
    )


def test_stages_come_after_what_they_need_and_know_where_it_lies(
    pipeline: dict[str, Recipe], tmp_path: Path
) -> None:
    made = plan(pipeline, FakeStore(tmp_path))
    assert [stage.name for stage in made.stages] == ["data", "sft", "after"]
    data, sft, _ = made.stages
    assert sft.job.config["model"] == str(data.folder / "outputs" / "model")
    assert sft.launch.argv[1] == str(data.folder / "outputs" / "model")
    assert sft.job.datasets == {str(data.folder / "outputs" / "rows.jsonl"): {"columns": {}}}
    assert data.secrets == {"KEY": "MY_KEY"}
    assert {stage.action for stage in made.stages} == {"run"}
    assert data.reason == "not run before"


def test_what_finished_is_reused_and_a_change_says_itself(
    pipeline: dict[str, Recipe], tmp_path: Path
) -> None:
    store = FakeStore(tmp_path)
    store.remember(plan(pipeline, store))
    assert {stage.action for stage in plan(pipeline, store).stages} == {"reuse"}
    pipeline["sft"] = recipe(tmp_path, "sft", {"model": "⟦stages.data.outputs.model⟧", "rate": 2}, ("data",))
    made = plan(pipeline, store)
    assert [(s.action, s.reason) for s in made.stages[:2]] == [
        ("reuse", "finished before"),
        ("run", "rate changed: 1 → 2"),
    ]
    assert made.stage("after").action == "run"
    assert "comes from a stage that changed" in made.stage("after").reason


@pytest.mark.parametrize("status", ["failed", "interrupted", "running"])
def test_what_was_begun_goes_on_in_its_folder(
    pipeline: dict[str, Recipe], tmp_path: Path, status: str
) -> None:
    store = FakeStore(tmp_path)
    first = plan(pipeline, store)
    store.remember(first, status)
    again = plan(pipeline, store)
    assert [(s.action, s.folder) for s in again.stages] == [("resume", s.folder) for s in first.stages]


def test_fresh_takes_new_folders_and_what_follows_sees_them(
    pipeline: dict[str, Recipe], tmp_path: Path
) -> None:
    store = FakeStore(tmp_path)
    first = plan(pipeline, store)
    store.remember(first)
    anew = plan(pipeline, store, selection=Selection(fresh=True))
    assert {stage.action for stage in anew.stages} == {"run"}
    assert not {s.folder for s in anew.stages} & {s.folder for s in first.stages}
    assert anew.stage("sft").fingerprint != first.stage("sft").fingerprint


def test_from_runs_a_stage_and_its_dependants_anew(pipeline: dict[str, Recipe], tmp_path: Path) -> None:
    store = FakeStore(tmp_path)
    store.remember(plan(pipeline, store))
    made = plan(pipeline, store, selection=Selection(start="sft"))
    assert [s.action for s in made.stages] == ["reuse", "run", "run"]


def test_only_needs_what_comes_before_to_be_finished(pipeline: dict[str, Recipe], tmp_path: Path) -> None:
    store = FakeStore(tmp_path)
    with pytest.raises(Missing, match="--only sft: it needs `data`, which has not finished"):
        plan(pipeline, store, selection=Selection(only="sft"))
    made = plan(pipeline, store, selection=Selection(only="data"))
    assert [s.action for s in made.stages] == ["run", "skip", "skip"]


def test_only_takes_the_comparison_that_stands_before_it(pipeline: dict[str, Recipe], tmp_path: Path) -> None:
    guard = replace(recipe(tmp_path, "guard", {}, ("data",)), kind="contamination")
    pipeline = {**pipeline, "guard": guard, "sft": replace(pipeline["sft"], needs=("guard",))}
    store = FakeStore(tmp_path)
    with pytest.raises(Missing, match="--only sft: it needs `data`, which has not finished"):
        plan(pipeline, store, selection=Selection(only="sft"))
    store.remember(plan({"data": pipeline["data"]}, store))
    made = plan(pipeline, store, selection=Selection(only="sft"))
    assert {s.name: s.action for s in made.stages} == {
        "data": "reuse",
        "guard": "run",
        "sft": "run",
        "after": "skip",
    }


def test_a_stage_that_does_not_exist_is_named(pipeline: dict[str, Recipe], tmp_path: Path) -> None:
    with pytest.raises(RecipeInvalid, match="--only sfd") as caught:
        plan(pipeline, FakeStore(tmp_path), selection=Selection(only="sfd"))
    assert caught.value.hint is not None
    assert "did you mean `sft`?" in caught.value.hint


def test_stages_that_wait_for_each_other_are_refused(tmp_path: Path) -> None:
    stages = {
        "a": recipe(tmp_path, "a", {}, ("b",)),
        "b": recipe(tmp_path, "b", {}, ("a",)),
    }
    with pytest.raises(RecipeInvalid, match="wait for each other"):
        in_order(stages)


def test_a_plan_becomes_json_without_secrets(
    pipeline: dict[str, Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    monkeypatch.setenv("MY_KEY", "s3cr3t")
    text = json.dumps(plan(pipeline, FakeStore(tmp_path)).to_json())
    assert "s3cr3t" not in text
    assert [stage["name"] for stage in json.loads(text)["stages"]] == ["data", "sft", "after"]


def test_a_stage_that_will_not_fit_is_warned_about(pipeline: dict[str, Recipe], tmp_path: Path) -> None:
    import dataclasses

    from residency.engines.base import MemoryEstimate
    from residency.plan.build import memory_warnings
    from residency.plan.machine import Gpu

    made = plan(pipeline, FakeStore(tmp_path))
    sft = made.stage("sft")
    sft.job = dataclasses.replace(sft.job, gpus=1)
    sft.memory = MemoryEstimate(60 << 30, 0, 0, 0, 0, 8, 8, advice=("llamafactory.finetuning_type: lora",))
    assert memory_warnings(made, []) == [], "there is no GPU to compare it with"
    assert memory_warnings(made, [Gpu("big", 80 << 30)]) == []
    assert memory_warnings(made, [Gpu("big", 80 << 30), Gpu("small", 24 << 30)]) == [
        "stage sft is expected to need 60 GiB of GPU memory, and a GPU here has 24 GiB; "
        "try llamafactory.finetuning_type: lora"
    ]
    assert made.to_json()["stages"][1]["memory"]["total"] == 60 << 30


@pytest.mark.parametrize(
    ("kind", "counted"), [("sft", [0, 1, 4]), ("evaluate", [0, 1, 1]), ("data", [0, 0, 0])]
)
def test_how_many_gpus_count(kind: str, counted: list[int]) -> None:
    assert [building._counted(gpus, kind) for gpus in (0, 1, 4)] == counted


def test_training_on_another_number_of_gpus_is_another_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from residency.plan.check import check

    path = tmp_path / "recipe.yaml"
    path.write_text(
        "kind: sft\ndataset: example_alpaca\nllamafactory:\n"
        "  {model_name_or_path: o/m, template: llama3, stage: sft, do_train: true}\n"
    )

    def key(gpus: int, *overrides: str) -> str:
        monkeypatch.setattr(building.machine, "gpu_count", lambda: gpus)
        checked = check(path, overrides=overrides)
        assert checked.recipe is not None
        hashes = FileHashes(tmp_path / "h.json")
        made = build(checked.recipe, checked.stages, store=FakeStore(tmp_path), hashes=hashes)
        return made.stages[0].fingerprint

    assert key(4) != key(1)
    assert key(4) == key(8, "resources.gpus=4")
    assert key(0) == key(4, "resources.gpus=0")


@pytest.mark.parametrize(
    ("config", "kind", "gpus"),
    [
        ({}, "sft", 4),
        ({"llamafactory": {"use_cpu": True}}, "sft", 0),
        ({"llamafactory": {"use_cpu": True}, "resources": {"gpus": 2}}, "sft", 2),
        ({}, "evaluate", 1),
        ({}, "data", 0),
        ({"verl": {}}, "rlvr", 4),
        ({"verl": {"trainer": {"n_gpus_per_node": 8}}}, "rlvr", 8),
        ({"verl": {"trainer.n_gpus_per_node": 8, "trainer.nnodes": 2}}, "rlvr", 4),
        ({"verl": {"trainer.n_gpus_per_node": 8}, "hardware": "cpu"}, "rlvr", 0),
        ({"verl": {"trainer.n_gpus_per_node": 8}, "resources": {"gpus": 2}}, "rlvr", 2),
    ],
)
def test_gpus_of_a_stage(
    monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], kind: str, gpus: int
) -> None:
    monkeypatch.setattr(building.machine, "gpu_count", lambda: 4)
    assert building._gpus(config, kind) == gpus


def test_a_gpu_that_is_not_there_is_asked_for_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor then refuses; verl would wait for it without end."""
    monkeypatch.setattr(building.machine, "gpu_count", lambda: 0)
    assert building._gpus({"verl": {}, "hardware": "gpu"}, "rlvr") == 1
    assert building._gpus({"verl": {"trainer.n_gpus_per_node": 4}, "hardware": "gpu"}, "rlvr") == 4
    assert building._gpus({"verl": {"trainer.n_gpus_per_node": 4}}, "rlvr") == 0
