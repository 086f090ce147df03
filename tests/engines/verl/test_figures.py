from __future__ import annotations

from typing import Any

from residency.engines.verl import figures


def row(step: int, **more: float) -> dict[str, Any]:
    base = {"reward": step / 10, "rewards/total/mean": step / 10, "rewards/format.xml/mean": 1.0 - step / 20}
    return {"step": step, "seconds": 2.0 * step, **base, **more}


def test_first_and_last_tenths_and_the_validations() -> None:
    rows = [row(step, kl=step / 100, zero_variance_groups=0.5 if step > 10 else 0.0) for step in range(1, 21)]
    rows.insert(0, {"step": 0, "seconds": 0.0, "validation/total/mean": 0.2, "validation/n": 8.0})
    rows[-1] |= {"validation/total/mean": 0.7, "validation/n": 7.0}
    found = figures.final(rows, 20)
    assert found["steps"] == 20
    assert found["first_reward"] == (0.1 + 0.2) / 2
    assert found["reward"] == (1.9 + 2.0) / 2
    assert found["first_components"] == {"format.xml": (0.95 + 0.9) / 2}
    assert abs(found["components"]["format.xml"] - 0.025) < 1e-12
    assert found["kl"] == (0.19 + 0.2) / 2
    assert found["zero_variance_groups"] == 0.25
    assert found["train_seconds"] == 40.0
    assert found["validation"] == {"first": 0.2, "last": 0.7, "n": 7}
    assert "entropy" not in found, "what was not logged has no figure"


def test_a_training_of_one_step_and_of_none() -> None:
    found = figures.final([row(1)], 1)
    assert found["first_reward"] == found["reward"] == 0.1
    assert figures.final([], 3) == {"steps": 3}
