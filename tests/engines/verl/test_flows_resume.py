"""A training that is killed, and whose checkpoints are lost, ends as one that nothing befell."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from verl_case import Flow, recipe, tiny, unused_segments

from residency.engines import hf_folder
from residency.engines.verl import shm
from residency.files import jsonl_rows, sha256_file

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(1800)]
pytest.importorskip("verl")

STEPS, KILLED_IN = 4, 4
OPTIONS: dict[str, Any] = {
    "eval_dataset": "val.jsonl",
    "checkpoints": {"every": 2, "mirror": "mirror"},
    "reference": {"num_iterations": 2},
    "verl": {
        "actor_rollout_ref": {
            "actor": {
                "use_kl_loss": True,
                "entropy_coeff": 0.01,
                "clip_ratio_low": 0.2,
                "clip_ratio_high": 0.28,
            }
        },
        "trainer": {"total_training_steps": STEPS, "test_freq": 2},
    },
}
TIMES = {"seconds", "step_seconds", "tokens_per_second"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("tiny"))


def make(folder: Path, model: Path) -> Flow:
    """Two steps are a pass over the questions, and the checkpoint that is gone on from ends one."""
    return Flow.make(folder, recipe(model, **OPTIONS), rows=8)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Flow:
    return make(tmp_path_factory.mktemp("undisturbed"), model).done()


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Flow:
    """Killed with everything that it started, its folder's checkpoints gone, and begun again."""
    flow = make(tmp_path_factory.mktemp("resumed"), model)
    before = shm.segments()
    process = flow.start()
    flow.when(process, lambda: KILLED_IN - 1 in flow.logged_steps())
    assert flow.kill_all() > 5, "the launcher, its supervisor, the stage, verl, and Ray's"
    process.communicate()
    assert not unused_segments(before)
    assert flow.logged_steps()[-1] == KILLED_IN - 1
    shutil.rmtree(flow.stage / "checkpoints")
    return flow.done()


def test_a_row_for_each_step(undisturbed: Flow) -> None:
    rows = undisturbed.rows()
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4], "0: validation before the first step"
    for row in rows[1:]:
        assert {"reward", "kl", "entropy", "clip_fraction", "rewards/vowels/mean"} <= set(row)
        assert row["reward"] == pytest.approx(
            row["rewards/length/mean"] + 0.5 * row["rewards/vowels/mean"], abs=1e-5
        )
    assert [row["step"] for row in rows if "validation/vowels/q50" in row] == [0, 2, 4]
    assert undisturbed.state["metrics"]["validation"]["n"] == 4


def test_the_policy_becomes_the_reference_in_the_middle(undisturbed: Flow) -> None:
    kl = {row["step"]: row["kl"] for row in undisturbed.rows() if "kl" in row}
    assert kl[1] == kl[3] == 0.0
    assert kl[2] > 0
    assert kl[4] > 0


def test_it_went_on_from_the_mirror(resumed: Flow) -> None:
    assert resumed.state["resumed_from"] == "step 2"
    assert resumed.state["attempts"] == 2
    (mirror,) = (resumed.folder / "mirror").iterdir()
    assert {path.name for path in mirror.iterdir()} == {"global_step_2", "global_step_4", "reference_step_2"}


def test_the_same_weights_to_the_last_bit(undisturbed: Flow, resumed: Flow, model: Path) -> None:
    of = {name: flow.stage / "outputs" / "model" for name, flow in (("a", undisturbed), ("b", resumed))}
    hashes = {name: sha256_file(folder / "model.safetensors") for name, folder in of.items()}
    assert hashes["a"] == hashes["b"]
    assert hashes["a"] != sha256_file(model / "model.safetensors")
    assert {t.dtype for t in hf_folder.check_model(of["a"]).values()} == {"F32"}, "as the model had it"


def test_the_same_figures_and_rollouts(undisturbed: Flow, resumed: Flow) -> None:
    def rows(flow: Flow) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in flow.rows()]

    def rollouts(flow: Flow) -> list[dict[str, Any]]:
        return jsonl_rows((flow.stage / "outputs" / "rollouts.jsonl").read_text())

    assert rows(resumed) == rows(undisturbed)
    assert rollouts(resumed) == rollouts(undisturbed)
    assert {row["step"] for row in rollouts(resumed)} == {0, 1, 2, 3, 4}


def test_nothing_is_left(undisturbed: Flow, resumed: Flow) -> None:
    for flow in (undisturbed, resumed):
        assert flow.none_left(), (flow.processes(), flow.ray_folders())
