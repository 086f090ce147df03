"""The parts of verl's own processes that can be tried without them. They import torch and verl."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from residency.files import jsonl_rows

pytestmark = pytest.mark.slow
torch = pytest.importorskip("torch")


class TestHrpo:
    def advantages(self, rewards: list[float], groups: list[int], delta: float = 1e-6) -> list[float]:
        from residency.engines.verl.driver.hrpo import advantages

        found = advantages(torch.tensor(rewards, dtype=torch.float64), groups, delta)
        return [round(value, 6) for value in found.tolist()]

    def test_relative_to_prompts_of_as_many_hops(self) -> None:
        # Group 1: mean 0.5, population variance 0.25; group 2: mean 2, variance 1.
        found = self.advantages([0.0, 1.0, 1.0, 3.0], [1, 1, 2, 2], delta=0.0)
        assert found == [-1.0, 1.0, -1.0, 1.0]

    def test_alone_in_its_group_it_learns_nothing(self) -> None:
        assert self.advantages([5.0, 0.0, 1.0], [4, 1, 1], delta=0.0)[0] == 0.0

    def test_equal_rewards_give_zero_and_no_division_by_zero(self) -> None:
        assert self.advantages([1.0, 1.0], [1, 1]) == [0.0, 0.0]
        assert all(map(math.isfinite, self.advantages([1.0, 1.0], [1, 1], delta=1e-12)))

    def test_delta_is_added_to_the_variance(self) -> None:
        assert self.advantages([0.0, 2.0], [1, 1], delta=3.0) == [-0.5, 0.5]

    def test_verl_finds_it_by_name_and_gets_its_shapes(self) -> None:
        from verl.trainer.ppo.core_algos import get_adv_estimator_fn

        from residency.engines.verl.driver import batch, hrpo

        batch.set_groups({"a": 1, "b": 1})
        rewards = torch.tensor([[0.0, 0.0, 1.0], [0.0, 3.0, 0.0]])
        mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
        estimate = get_adv_estimator_fn(hrpo.NAME)
        advantages, returns = estimate(
            token_level_rewards=rewards, response_mask=mask, index=["a", "b"], config={"hrpo_delta": 0.0}
        )
        assert advantages.tolist() == [[-1.0, -1.0, -1.0], [1.0, 1.0, 0.0]]
        assert torch.equal(advantages, returns)


class TestEstimators:
    def test_those_that_check_takes_have_all_that_they_ask_for(self) -> None:
        """From the very fields that verl's trainer hands over."""
        import numpy as np
        from verl.protocol import DataProto
        from verl.trainer.config import AlgoConfig
        from verl.trainer.ppo.v1 import trainer_base

        from residency.engines.verl.rules.algorithm import ESTIMATORS, UNFED

        refused = set()
        for name in ESTIMATORS:
            rewards = torch.zeros(8, 5)
            rewards[:, 4] = torch.arange(8.0)
            data = DataProto.from_dict(
                tensors={
                    "response_mask": torch.ones(8, 5),
                    "rm_scores": rewards,
                    "token_level_scores": rewards,
                    "token_level_rewards": rewards.clone(),
                    "old_log_probs": torch.zeros(8, 5),
                    "values": torch.zeros(8, 5),
                }
            )
            data.non_tensor_batch["uid"] = np.array([f"u{i // 4}" for i in range(8)], dtype=object)
            try:
                found = trainer_base.compute_advantage_for_multi_trajectories(
                    data,
                    batch_keys=[f"u{i // 4}_{i % 4}_0" for i in range(8)],
                    adv_estimator=name,
                    num_repeat=4,
                    config=AlgoConfig(gdpo_reward_keys=["a"]),
                )
            except (KeyError, TypeError, AssertionError):
                refused.add(name)
            else:
                assert found.batch["advantages"].isfinite().all(), name
        assert refused == set(UNFED)


class TestWithoutAReward:
    """Samples that could not be scored: out of their group's mean, and of every sum of the loss."""

    def advantages(self, rewards: list[float], missing: list[int], name: str = "grpo") -> list[float]:
        import numpy as np
        from verl.protocol import DataProto
        from verl.trainer.config import AlgoConfig

        from residency.engines.verl.driver import trainer

        n = len(rewards)
        scores = torch.zeros(n, 3)
        scores[:, 2] = torch.tensor(rewards)
        data = DataProto.from_dict(tensors={"response_mask": torch.ones(n, 3), "token_level_rewards": scores})
        data.batch["response_mask"][missing] = 0.0
        data.non_tensor_batch["uid"] = np.array(["u"] * n, dtype=object)
        compute = trainer._without(missing) if missing else trainer._advantages
        keys = [f"u_{i}_0" for i in range(n)]
        found = compute(data, batch_keys=keys, adv_estimator=name, num_repeat=n, config=AlgoConfig())
        assert found.batch["returns"].shape == (n, 3)
        return [round(float(value), 5) for value in found.batch["advantages"][:, 0]]

    @pytest.mark.parametrize("name", ["grpo", "rloo"])
    def test_the_others_are_as_if_it_had_not_been(self, name: str) -> None:
        alone = self.advantages([1.0, 0.0, 0.5], [], name)
        found = self.advantages([1.0, 0.0, 0.0, 0.5], [1], name)  # the bridge gives verl 0 for it
        assert found == [alone[0], 0.0, *alone[1:]]
        assert found != self.advantages([1.0, 0.0, 0.0, 0.5], [], name), "0 would have counted"

    def test_its_tokens_are_masked_where_the_loss_looks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from types import SimpleNamespace

        from tensordict import TensorDict

        from residency.engines.verl.driver import trainer

        mask = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged)
        put: list[tuple[list[str], Any]] = []
        queue = SimpleNamespace(
            kv_batch_get=lambda keys, **_: TensorDict({"response_mask": mask}, batch_size=len(keys)),
            kv_batch_put=lambda keys, fields, **_: put.append((keys, fields)),
        )
        monkeypatch.setattr(trainer, "tq", queue)
        trainer._leave_out(SimpleNamespace(keys=["a", "b", "c"], partition_id="train"), [0, 2])
        ((keys, fields),) = put
        assert keys == ["a", "c"]
        for name in ("response_mask", "loss_mask"):
            assert [row.tolist() for row in fields[name].unbind()] == [[0.0, 0.0], [0.0, 0.0, 0.0]]


class TestReference:
    def test_the_steps_after_which_it_is_renewed(self) -> None:
        from residency.engines.verl.driver import reference

        assert reference.steps(100, 4) == {25, 50, 75}
        assert reference.steps(100, None) == reference.steps(100, 1) == frozenset()
        assert reference.steps(2, 5) <= {1}, "never before the first step or after the last"


class TestRecord:
    def samples(self, *totals: tuple[str, float]) -> list[object]:
        from residency.engines.verl.driver.record import Sample

        return [
            Sample(uid=uid, total=total, components={"format": total / 2}, row={"info": {"why": "late"}})
            for uid, total in totals
        ]

    def record(self, folder: Path, **options: object):
        from residency.engines.verl.driver.record import Record

        return Record(folder, {"per_step": 0, "stop_share": 0.5, **options})

    def test_figures_of_a_step(self, tmp_path: Path) -> None:
        found = self.record(tmp_path).step(1, self.samples(("a", 1.0), ("a", 1.0), ("b", 0.0), ("b", 1.0)))
        assert found["rewards/total/mean"] == 0.75
        assert found["rewards/format/mean"] == 0.375
        assert found["rewards/zero_variance_groups"] == 0.5
        assert found["rewards/unavailable"] == 0.0

    def test_answers_cut_at_the_limit_are_those_of_its_length(self, tmp_path: Path) -> None:
        samples = self.samples(("a", 1.0), ("a", 0.0))
        for sample, length in zip(samples, (3, 4), strict=True):
            sample.row["response"] = torch.zeros(length)
        assert (
            self.record(tmp_path, max_response_length=4).step(1, samples)["response_length/at_limit"] == 0.5
        )
        assert (
            self.record(tmp_path, max_response_length=9).step(1, samples)["response_length/at_limit"] == 0.0
        )

    def test_a_sample_without_a_reward_is_counted_and_left_out(self, tmp_path: Path) -> None:
        found = self.record(tmp_path).step(1, self.samples(("a", 1.0), ("a", math.nan)))
        assert found["rewards/unavailable"] == 0.5
        assert found["rewards/total/mean"] == 1.0
        assert "rewards/zero_variance_groups" not in found, "one sample is no group"

    def test_too_many_without_a_reward_stop_the_run(self, tmp_path: Path) -> None:
        from residency.engines.verl.driver.record import TooManyUnavailable

        record = self.record(tmp_path)
        record.stop_if_too_many(1, self.samples(("a", 1.0), ("a", math.nan)))
        with pytest.raises(TooManyUnavailable, match=r"2 of 3 samples have no reward.*late"):
            record.stop_if_too_many(1, self.samples(("a", 1.0), ("a", math.nan), ("a", math.nan)))
        with pytest.raises(TooManyUnavailable):
            self.record(tmp_path, stop_share=1.0).stop_if_too_many(1, self.samples(("a", math.nan)))

    def test_validation_by_component(self, tmp_path: Path) -> None:
        infos = {"acc": [1.0, math.nan, 0.0], "reward/format": [1.0, 1.0, 0.0]}
        found, there = self.record(tmp_path).validation(0, infos)
        assert there == [0, 2]
        assert (found["validation/n"], found["validation/unavailable"]) == (2, 1)
        assert found["validation/total/mean"] == 0.5

    def test_validation_rollouts_have_their_components(self, tmp_path: Path) -> None:
        infos = {
            "acc": [1.0, math.nan, None],
            "reward/format": [1.0, 0.5, None],
            "reward/judge": [0.5, math.nan, 0.0],
            "why": ["", "judge: late", None],
        }
        record = self.record(tmp_path, per_step=3)
        record.validation_rollouts(4, ["c?", "b?", "a?"], ["yes", "no", "maybe"], infos)
        rows = jsonl_rows((tmp_path / "outputs" / "rollouts.jsonl").read_text())
        assert [(r["answer"], r["reward"], r["components"], r["unavailable"]) for r in rows] == [
            ("maybe", None, {"format": None, "judge": 0.0}, None),
            ("no", None, {"format": 0.5, "judge": None}, "judge: late"),
            ("yes", 1.0, {"format": 1.0, "judge": 0.5}, None),
        ]
